"""Homes, and the gateways that serve them (TP-REC-005)."""

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import DAY, START_MS, World
from tryggport.errors import TryggError
from tryggport.reception import (
    installations,
    placing,
    views,
)
from tryggport.wire import kinds


@pytest.fixture
def world(each_database_url):  # noqa: F811
    made = World(each_database_url)
    yield made
    made.close()


def test_TP_REC_005_a_gateway_in_no_home_is_received_shown_and_found_its_home_later(world):
    asker = world.town("Asker")
    assert world.alarm(0)[0].outcome == kinds.OUTCOME_STORED
    assert [(c["home"], c["municipality"]) for c in world.cases()] == [(None, None)]
    assert world.cases(asker) == []
    world.install("Asker", "A-1", "kitchen-7")
    world.alarm(1, kinds.HELP)
    (case,) = world.cases(asker)
    assert (case["home"], len(case["alarms"])) == ("A-1", 2)
    assert [e["seq"] for e in views.list_events(asker)] == [1, 0]
    assert "found to be of home A-1" in world.history()


def test_TP_REC_005_replacing_a_gateway_keeps_the_home_s_history(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7", cid="4711")
    world.later(DAY)
    installations.replace(asker, "kitchen-7", "kitchen-8", "Ida", world.now_ms)
    rows = views.show_home(asker, "A-1")
    assert [(r["gateway"], r["from_ms"] - START_MS, r["to_ms"] and r["to_ms"] - START_MS, r["cid"]) for r in rows] == [
        ("kitchen-8", DAY, None, "4711"), ("kitchen-7", 0, DAY, "4711")
    ]  # fmt: skip
    with pytest.raises(TryggError, match="kitchen-7 serves no home"):
        installations.replace(asker, "kitchen-7", "kitchen-9", "Ida", world.now_ms)


def test_TP_REC_005_what_a_revoked_gateway_sends_is_kept_shown_and_quarantined(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7")
    installations.revoke(asker, "kitchen-7", "Ida", "stolen", world.now_ms)
    event = world.event(0)
    assert [world.arrive(event)[0].outcome for _ in range(2)] == [kinds.OUTCOME_QUARANTINED] * 2
    assert [case["gateway"] for case in world.cases()] == ["kitchen-7"]
    assert world.cases(asker) == []
    with pytest.raises(TryggError, match="No gateway kitchen-77 serves a home or has been heard"):
        installations.revoke(world.centre, "kitchen-77", "Ida", "a slip of the hand", world.now_ms)
    with pytest.raises(TryggError, match="revoked already"):
        installations.revoke(world.centre, "kitchen-7", "Ida", "again", world.now_ms)


def test_TP_REC_005_an_import_is_all_or_nothing_names_every_bad_line_and_may_be_run_again(world, tmp_path):
    asker = world.town("Asker")
    file = tmp_path / "homes.csv"
    good = "home,gateway,cid,call_back,area\nA-1,kitchen-1,4711,+4712345678,north\nA-2,kitchen-2,4712,,\n"
    file.write_text(
        good + "A 3,kitchen-3,,,\nA-4,K,,,\nA-5,kitchen-1,,,\nA-6,kitchen-6,4711,,\nA-7,kitchen-7,x,,\n"
        "12057812345,kitchen-8,,,\nA-9\n"
    )
    done = placing.import_csv(world.centre, "Asker", file, "Ida", world.now_ms)
    assert (done.added, done.unchanged, [number for number, _ in done.bad]) == (0, 0, [4, 5, 6, 7, 8, 9, 10])
    sentences = [sentence for _, sentence in done.bad]
    assert sentences[2] == "The gateway kitchen-1 serves home A-1 already."
    assert sentences[3] == "The controller identity 4711 belongs to another home."
    assert sentences[5] == "A national identity number is no pseudonym."
    assert views.list_installations(asker) == []
    file.write_text(good)
    assert placing.import_csv(asker, "Asker", file, "Ida", world.now_ms) == placing.Imported(2, 0, ())
    assert placing.import_csv(asker, "Asker", file, "Ida", world.now_ms) == placing.Imported(0, 2, ())
    assert [(r["home"], r["gateway"], r["cid"], r["area"]) for r in views.list_installations(asker)] == [
        ("A-1", "kitchen-1", "4711", "north"), ("A-2", "kitchen-2", "4712", None)
    ]  # fmt: skip
    for content, sentence in (
        (b"a,b\n1,2\n", "does not name the columns"),
        (b"home,gateway\n\xff,\n", "is not CSV in UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(TryggError, match=sentence):
            placing.import_csv(asker, "Asker", file, "Ida", world.now_ms)
