"""Cases: how they open, go their way, and what stays of it (TP-REC-002, TP-REC-003)."""

import json

import pytest
from reception_databases import each_database_url, postgres, written_by  # noqa: F401
from reception_world import MINUTE, START_MS, World, sqlite_url
from sqlalchemy import delete, update
from sqlalchemy.exc import DBAPIError
from tryggport.cli import app
from tryggport.errors import TryggError
from tryggport.reception import (
    cases,
    installations,
)
from tryggport.reception.schema import audit
from tryggport.wire import kinds
from typer.testing import CliRunner


@pytest.fixture
def world(each_database_url):  # noqa: F811
    made = World(each_database_url)
    yield made
    made.close()


def test_TP_REC_002_a_later_alarm_joins_the_home_s_open_case_and_never_a_closed_one(world):
    asker = world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7", cid="4711", call_back="+4712345678")
    world.alarm(0)
    world.alarm(1, kinds.HELP)
    installations.replace(asker, "kitchen-7", "kitchen-8", "Ida", world.now_ms)
    world.alarm(0, kinds.HELP, "kitchen-8")  # the home's, whichever gateway it comes from
    (case,) = world.cases(asker)
    assert (case["home"], case["call_back"], [a["seq"] for a in case["alarms"]]) == ("A-1", "+4712345678", [0, 1, 0])
    cases.take(asker, 1, "Kari", world.now_ms)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1]), ("kitchen-8", kinds.OUTCOME_TAKEN, [0])]
    cases.close(asker, 1, "Kari", "fall", at_ms=world.now_ms)
    world.alarm(1, kinds.HELP, "kitchen-8")
    assert [(c["id"], c["status"], len(c["alarms"])) for c in world.cases(asker)] == [(2, "new", 1), (1, "closed", 3)]
    world.told()
    world.say("kitchen-8", connect=2)
    assert ("kitchen-8", kinds.OUTCOME_CLOSED, [0]) in world.told()  # also of the case that its predecessor opened


def test_TP_REC_002_test_alarms_have_a_case_of_their_own(world):
    world.town("Asker")
    world.install("Asker", "A-1", "kitchen-7")
    world.arrive(world.event(0, kinds.HELP, test=True), world.event(1, kinds.HELP), world.event(2, test=True))
    assert {(c["test"], tuple(a["seq"] for a in c["alarms"])) for c in world.cases()} == {(True, (0, 2)), (False, (1,))}


def test_TP_REC_003_a_case_goes_its_way_and_the_audit_says_who_when_before_and_after(world):
    world.alarm(0)
    for act, who in ((cases.take, "Kari"), (cases.contacted, "Kari"), (cases.on_the_way, "Ola")):
        world.later(MINUTE)
        act(world.centre, 1, who, at_ms=world.now_ms)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]  # the home hears once that somebody has it
    with pytest.raises(TryggError, match="is on the way already"):
        cases.contacted(world.centre, 1, "Kari")
    with pytest.raises(TryggError, match="is taken already, by Kari"):
        cases.take(world.centre, 1, "Ola")
    with pytest.raises(TryggError, match="'tea' is no cause") as e:
        cases.close(world.centre, 1, "Ola", "tea")
    assert "false alarm" in e.value.hint
    world.later(MINUTE)
    cases.close(world.centre, 1, "Ola", "Fall", "helped up", at_ms=world.now_ms)
    assert (world.case()["cause"], world.case()["note"]) == ("fall", "helped up")
    lines = [(h["at_ms"] - START_MS, h["who"], h["what"], h["before"], h["after"]) for h in world.case()["history"]]
    assert lines == [
        (0, "kitchen-7", "fall", None, None), (MINUTE, "Kari", "taken", "new", "taken"),
        (2 * MINUTE, "Kari", "contacted", "taken", "contacted"),
        (3 * MINUTE, "Ola", "on the way", "contacted", "on the way"),
        (4 * MINUTE, "Ola", "closed: fall", "on the way", "closed"),
    ]  # fmt: skip


def test_TP_REC_003_the_database_refuses_to_change_or_delete_the_audit(world):
    world.alarm(0)
    for change in (update(audit).values(who="nobody"), delete(audit)):
        with pytest.raises((TryggError, DBAPIError), match="the audit only grows"), world.db.write() as tx:
            tx.execute(change)
    assert world.history() == ["fall"]


@pytest.mark.parametrize("name", ["", " ", "reception", "Reception-Canary"])
def test_TP_WIR_016_no_machine_takes_a_case(world, name):
    world.alarm(0)
    with pytest.raises(TryggError, match="by a named person"):
        cases.take(world.centre, 1, name)
    assert world.told() == []


def test_a_person_can_do_all_of_it_on_the_command_line(world, tmp_path):
    def tryggport(*arguments, code=0):
        done = CliRunner().invoke(app, [*map(str, arguments), "--db", world.url])
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    tryggport("registry", "municipality", "add", "Asker", "--by", "Ida", "--untested-days", 30)
    file = tmp_path / "homes.csv"
    file.write_text("home,gateway\nA-1,kitchen-7\nA-2,hall-0002\n")
    said = tryggport("registry", "import", "--csv", file, "--municipality", "Asker", "--by", "Ida")
    assert said == "2 installations added, 0 were there already.\n"
    file.write_text("home,gateway\nA-1,kitchen-7\nA-3,hall-0002\n")
    done = CliRunner().invoke(
        app, ["registry", "import", "--csv", str(file), "--municipality", "Asker", "--by", "Ida", "--db", world.url]
    )
    assert isinstance(done.exception, TryggError)
    assert done.stdout == "line 3: The gateway hall-0002 serves home A-2 already.\n"
    steps = tmp_path / "steps.toml"
    steps.write_text('[[step]]\nkind = "console"\nname = "duty room"\nwait_s = 90\n')
    assert "duty room" in tryggport("registry", "escalation", "Asker", "--file", steps, "--by", "Ida")
    assert tryggport("registry", "municipality", "list") == f"{'Asker':24}  2 homes\n"
    tryggport("registry", "replace", "hall-0002", "--with", "hall-0003", "--by", "Ida")
    tryggport("registry", "revoke", "hall-0002", "--by", "Ida", "--why", "stolen")
    assert "hall-0003" in tryggport("registry", "show", "A-2")
    world.alarm(0)
    of_town = ("--municipality", "Asker")
    assert "A-1" in tryggport("cases", "list", *of_town)
    tryggport("cases", "take", 1, "--by", "Kari", *of_town)
    tryggport("cases", "contacted", 1, "--by", "Kari")
    tryggport("cases", "on-the-way", 1, "--by", "Ola")
    tryggport("cases", "close", 1, "--by", "Ola", "--cause", "fall", "--note", "unhurt")
    shown = tryggport("cases", "show", 1, *of_town)
    assert "home: A-1" in shown and "note: unhurt" in shown and "Ola: closed: fall" in shown
    assert [c["status"] for c in json.loads(tryggport("cases", "list", "--json", *of_town))] == ["closed"]
    assert "fall: closed by Kari" in tryggport("cases", "list")
    norsk = tryggport("cases", "show", 1, "--lang", "nb")
    assert "fall: avsluttet av Kari" in norsk and "bolig: A-1" in norsk and "Ola: avsluttet: fall" in norsk
    world.say()
    assert "vei 0  tilkoblet" in tryggport("reception", "status", "--lang", "nb")
    assert "fall utløst" in tryggport("events", "list", "--lang", "nb")
    done = CliRunner().invoke(app, ["cases", "list", "--municipality", "Oslo", "--db", world.url])
    assert isinstance(done.exception, TryggError) and done.exception.message == "There is no municipality Oslo."


def test_a_database_of_the_first_version_keeps_its_cases(tmp_path):
    """The schema of the first version, with a case in it, is brought up to date."""
    with written_by("0001", sqlite_url(tmp_path)) as connection:
        row = "('kitchen-7', 0, 'taken', 1, 2, 'Kari')"
        connection.exec_driver_sql(
            f"INSERT INTO cases (gateway, test, status, opened_ms, taken_ms, taken_by) VALUES {row}"
        )
        connection.exec_driver_sql("INSERT INTO audit (case_id, at_ms, who, what) VALUES (1, 2, 'Kari', 'taken')")
        connection.exec_driver_sql("INSERT INTO outbox (case_id, outcome) VALUES (1, 7)")
    world = World(sqlite_url(tmp_path))
    (case,) = world.cases()
    assert (case["status"], case["taken_by"], case["home_key"]) == ("taken", "Kari", "kitchen-7")
    assert world.history() == ["taken"]
    world.alarm(0, kinds.HELP)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [])]
    assert len(world.cases()) == 1
    world.close()
