"""The reception's database without a broker: cases, presence, schema, and what it says when it cannot go on."""

import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.reception import cases, database, open_database, store, views
from tryggport.reception.keyring import RECHECK_S, KeyRing
from tryggport.reception.schema import events, metadata
from tryggport.reception.tenants import centre
from tryggport.reception.triage import LOOSE_CLEARS, by_epoch
from tryggport.sim.gateway import Gateway, csr
from tryggport.wire import kinds
from tryggport.wire.envelope import EnvelopeError, kid_of
from tryggport.wire.event import Event
from tryggport.wire.status import Status

EPOCH = bytes.fromhex("0123456789abcdef")


@pytest.fixture
def db(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'reception.db'}")
    yield opened
    opened.close()


def event(seq, kind=kinds.FALL, gateway="kitchen-7", **fields):
    values = {"boot": 1, "uptime_ms": seq * 1000, "severity": 3, "epoch": EPOCH} | fields
    return Event.from_bytes(Event(gateway=gateway, seq=seq, kind=kind, **values).to_bytes())


def arrive(db, *events, alarm=True, at_ms=None):
    arrivals = [store.Arrival(e.gateway, alarm, e) for e in events]
    return store.commit(db, arrivals, [], cases.now_ms() if at_ms is None else at_ms)


def say(db, online=True, retained=False, **fields):
    values = {"gateway": "kitchen-7", "epoch": EPOCH, "boot": 1, "connect": 1, "next_seq": 0, "alarms": 0, "events": 0}
    values |= {"uptime_ms": 0, "firmware": "0.1.0", "online": online} | fields
    store.commit(db, [], [(Status(**values), retained)], cases.now_ms())


def told(db):
    """What the outbox says, which is then forgotten."""
    rows = store.to_tell(db, ())
    store.forget_told(db, [row.outbox_id for row in rows])
    return [(row.gateway, row.outcome, sorted(seq for hashes in row.hashes.values() for seq in hashes)) for row in rows]


def test_repeats_join_the_open_case_and_a_new_one_opens_after_it_closed(db):
    arrive(db, event(0), event(1, kinds.HELP))
    arrive(db, event(2, kinds.HELP))
    arrive(db, event(3, kinds.FALL, gateway="garage-2"))
    assert [(c["gateway"], c["status"], len(c["alarms"])) for c in views.list_cases(centre(db))] == [
        ("garage-2", "new", 1), ("kitchen-7", "new", 3)
    ]  # fmt: skip
    case_id = views.list_cases(centre(db))[-1]["id"]
    cases.take(centre(db), case_id, "Kari")
    cases.close(centre(db), case_id, "Kari", "fall", "unhurt")
    arrive(db, event(4, kinds.HELP))
    assert [c["status"] for c in views.list_cases(centre(db)) if c["gateway"] == "kitchen-7"] == ["new", "closed"]
    assert [c["status"] for c in views.list_cases(centre(db), closed=False)] == ["new", "new"]


def test_test_alarms_have_a_case_of_their_own(db):
    arrive(db, event(0, kinds.HELP, test=True), event(1, kinds.HELP), event(2, kinds.HELP, test=True))
    assert [(c["test"], [a["seq"] for a in c["alarms"]]) for c in views.list_cases(centre(db))] in (
        [(True, [0, 2]), (False, [1])], [(False, [1]), (True, [0, 2])]
    )  # fmt: skip


def test_information_opens_no_case(db):
    arrive(db, event(0, kinds.BOOT, severity=0), event(1, kinds.MAINS, severity=2), alarm=False)
    assert views.list_cases(centre(db)) == []


def test_an_alarm_on_the_wrong_topic_is_an_alarm_all_the_same(db):
    arrive(db, event(0, kinds.FALL), alarm=False)
    assert [c["alarms"][0]["kind"] for c in views.list_cases(centre(db))] == ["fall"]


@pytest.mark.parametrize("batches", [[[0, 1]], [[1, 0]], [[0], [1]], [[1], [0]]])
def test_TP_WIR_020_a_cancel_marks_its_case_in_whatever_order_they_come(db, batches):
    found = [event(0), event(1, state=kinds.STATE_CLEARED, ref=0)]
    for batch in batches:
        arrive(db, *(found[n] for n in batch))
    (case,) = views.list_cases(centre(db))
    assert case["cancelled_ms"] is not None
    assert case["status"] == "new"  # a person still looks
    assert [(a["seq"], a["state"]) for a in sorted(case["alarms"], key=lambda a: a["seq"])] == [
        (0, "raised"), (1, "cleared")
    ]  # fmt: skip
    assert sorted(h["what"] for h in case["history"]) == ["cancelled", "fall"]


def test_TP_WIR_008_an_update_goes_with_its_alarm_and_stands_in_for_one_that_was_lost(db):
    arrive(db, event(0), event(1, state=kinds.STATE_UPDATED, ref=0))
    arrive(db, event(2, state=kinds.STATE_UPDATED, ref=0))
    (case,) = views.list_cases(centre(db))
    assert [h["what"] for h in case["history"]] == ["fall", "fall updated", "fall updated"]
    arrive(db, event(7, gateway="garage-2", state=kinds.STATE_UPDATED, ref=6))
    assert views.list_cases(centre(db))[0]["gateway"] == "garage-2"
    arrive(db, event(9, gateway="shed-0001", state=kinds.STATE_CLEARED, ref=8))
    assert len(views.list_cases(centre(db))) == 2


def test_TP_WIR_014_one_batch_may_hold_copies_of_one_event(db):
    first, other = event(0), event(0, kinds.HELP)
    settled = arrive(db, first, first, other, other, event(1))
    assert {(s.identity[2], s.sha256, s.outcome) for s in settled} == {
        (0, first.sha256, kinds.OUTCOME_STORED), (0, other.sha256, kinds.OUTCOME_CONFLICT),
        (1, event(1).sha256, kinds.OUTCOME_STORED),
    }  # fmt: skip
    again = arrive(db, first, other)
    assert {s.outcome for s in again} == {kinds.OUTCOME_DUPLICATE, kinds.OUTCOME_CONFLICT}
    assert views.overview(centre(db))["counts"] == {"events": 2, "conflicts": 1, "unreadable": 0}


def test_TP_WIR_016_the_home_is_told_only_what_a_named_person_did(db):
    arrive(db, event(0), event(1, kinds.HELP))
    say(db)
    assert told(db) == []  # nobody has taken it yet, and a birth changes nothing about that
    for name in ("", "  "):
        with pytest.raises(TryggError, match="by a named person"):
            cases.take(centre(db), 1, name)
    assert told(db) == []
    cases.take(centre(db), 1, "Kari")
    assert told(db) == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])]
    say(db, connect=2)
    assert told(db) == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])]
    say(db, connect=2, uptime_ms=300_000)
    assert told(db) == []  # a heartbeat is no birth
    with pytest.raises(TryggError, match="taken already, by Kari"):
        cases.take(centre(db), 1, "Ola")
    arrive(db, event(2, kinds.HELP))
    assert told(db) == []  # it joined a case that Kari has, who does not know of it yet
    cases.take(centre(db), 1, "Kari")
    assert told(db) == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1, 2])]
    with pytest.raises(TryggError, match="taken already, by Kari"):
        cases.take(centre(db), 1, "Kari")
    cases.close(centre(db), 1, "Kari", "other")
    assert told(db) == [("kitchen-7", kinds.OUTCOME_CLOSED, [0, 1, 2])]
    say(db, connect=3)
    assert told(db) == [("kitchen-7", kinds.OUTCOME_CLOSED, [0, 1, 2])]


def test_TP_WIR_016_a_case_that_closed_long_ago_is_told_again_to_who_was_away_since(db):
    say(db)
    arrive(db, event(0))
    cases.take(centre(db), 1, "Kari")
    cases.close(centre(db), 1, "Kari", "other")
    with db.write() as tx:
        tx.exec_driver_sql(f"UPDATE cases SET closed_ms = closed_ms - {cases.TELL_CLOSED_MS + 1000}")
    told(db)
    say(db, connect=2)
    assert told(db) == []  # it was there a day later
    with db.write() as tx:
        tx.exec_driver_sql(f"UPDATE statuses SET seen_ms = seen_ms - {cases.TELL_CLOSED_MS + 1000}")
    say(db, connect=3, path=1)
    assert told(db) == [
        ("kitchen-7", kinds.OUTCOME_CLOSED, [0])
    ]  # it has lain in a cupboard, and hears of it over any path


def test_taking_and_closing_say_what_is_wrong(db):
    arrive(db, event(0))
    for call, sentence in (
        (lambda: cases.take(centre(db), 7, "Kari"), "There is no case 7."),
        (lambda: cases.close(centre(db), 1, "Kari", "other"), "Nobody has taken case 1 yet."),
        (lambda: cases.close(centre(db), 1, "Kari", " "), "A case is closed with its cause."),
        (
            lambda: cases.take(centre(db), 1, "Kari") or cases.take(centre(db), 1, "Ola"),
            "Case 1 is taken already, by Kari.",
        ),
        (
            lambda: cases.close(centre(db), 1, "Ola", "other") or cases.take(centre(db), 1, "Kari"),
            "Case 1 is closed already, by Ola.",
        ),
    ):
        with pytest.raises(TryggError) as e:
            call()
        assert e.value.message == sentence
    assert [(h["who"], h["what"]) for h in views.list_cases(centre(db))[0]["history"]] == [
        ("kitchen-7", "fall"), ("Kari", "taken"), ("Ola", "closed: other")
    ]  # fmt: skip


def state(db):
    (gateway,) = views.overview(centre(db))["gateways"]
    return gateway


def test_TP_WIR_018_only_the_will_of_the_newest_session_counts(db):
    say(db, boot=2, connect=5)
    for old in ({"boot": 2, "connect": 4}, {"boot": 1, "connect": 9}, {"epoch": bytes(8), "boot": 2, "connect": 5}):
        say(db, online=False, **old)
        assert state(db)["online"] is True, old
    say(db, online=False, boot=2, connect=5)
    assert state(db)["online"] is False
    say(db, boot=2, connect=4)  # a late heartbeat of an old session
    assert (state(db)["online"], state(db)["connect"]) == (False, 5)
    say(db, boot=2, connect=6)
    assert (state(db)["online"], state(db)["connect"]) == (True, 6)
    say(db, epoch=bytes(8), boot=1, connect=1)  # a new epoch begins on line
    assert (state(db)["online"], state(db)["epoch"]) == (True, "00" * 8)


def test_TP_WIR_018_a_retained_status_is_no_sign_of_life(db):
    arrive(db, event(0))
    cases.take(centre(db), 1, "Kari")
    told(db)
    say(db, retained=True, boot=3)
    assert (state(db)["online"], state(db)["seen_ms"], state(db)["boot"]) == (False, None, 3)
    assert told(db) == []
    say(db, boot=3)
    assert state(db)["online"] is True
    assert state(db)["seen_ms"] is not None
    assert [outcome for _, outcome, _ in told(db)] == [kinds.OUTCOME_TAKEN]
    say(db, retained=True, boot=9)
    assert state(db)["boot"] == 3


def test_numbers_of_64_bits_fit(db):
    largest = 2**64 - 1
    say(db, boot=largest, connect=largest, alarms=largest, events=largest, uptime_ms=largest, path=largest)
    arrive(db, event(2**32 - 1, boot=largest, uptime_ms=largest, data={1: -(2**64), largest: largest}))
    assert state(db)["boot"] == 2**63 - 1
    (shown,) = views.list_events(centre(db))
    assert shown["data"] == {"cause": -(2**64), str(largest): largest}


def test_refusals_add_up(db):
    for _ in range(2):
        store.count_refusals(db, Counter({("", "unknown_gateway"): 3, ("kitchen-7", "malformed"): 1}), 1000)
    assert [(r["gateway"], r["reason"], r["count"]) for r in views.overview(centre(db))["refusals"]] == [
        ("", "unknown_gateway", 6), ("kitchen-7", "malformed", 2)
    ]  # fmt: skip


def test_the_migrations_make_the_schema_of_the_code(db):
    with db.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx, opts={"compare_type": True}), metadata) == []
        (_, _, of_these) = next(by_epoch([("kitchen-7", EPOCH, 1), ("kitchen-7", EPOCH, 2)]))
        query = str(select(events.c.id).where(of_these).compile(compile_kwargs={"render_postcompile": True}))
        for name, value in ((":gateway_1", "'kitchen-7'"), (":epoch_1", "x'00'"), (":seq_1_1", "1"), (":seq_1_2", "2")):
            query = query.replace(name, value)
        plan = " ".join(str(row) for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}"))
        assert "SEARCH" in plan  # finding duplicates needs no scan
        assert "SCAN" not in plan
        loose = f"EXPLAIN QUERY PLAN SELECT id FROM events WHERE {LOOSE_CLEARS.text} AND gateway IN ('a', 'b')"
        assert "loose_clears" in " ".join(str(row) for row in tx.exec_driver_sql(loose))
        of_case = "EXPLAIN QUERY PLAN SELECT id FROM events WHERE case_id IN (1, 2)"
        assert "events_of_case" in " ".join(str(row) for row in tx.exec_driver_sql(of_case))
        assert tx.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert tx.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_opening_again_keeps_everything(tmp_path):
    url = f"sqlite:///{tmp_path / 'reception.db'}"
    first = open_database(url)
    arrive(first, event(0))
    first.close()
    second = open_database(url)
    assert len(views.list_events(centre(second))) == 1
    second.close()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("sqlite:///{tmp}/none/reception.db", "There is no folder {tmp}/none for the database."),
        ("sqlite://", "A database in memory keeps nothing."),
        ("nonsense", "'nonsense' is not a database URL."),
        ("oracle7://x", "'oracle7://x' is not a database URL."),
        ("sqlite:///{tmp}/text.db", "The database {tmp}/text.db is not a database."),
        ("sqlite:///{tmp}", "The database {tmp} cannot be opened."),
    ],
)
def test_a_database_that_cannot_be_used_is_explained(tmp_path, url, sentence):
    (tmp_path / "text.db").write_text("this is a letter, and quite a long one at that\n" * 20)
    with pytest.raises(TryggError) as e:
        open_database(url.format(tmp=tmp_path))
    assert e.value.message == sentence.format(tmp=tmp_path)
    assert e.value.hint


def test_a_newer_schema_is_left_alone(tmp_path):
    path = tmp_path / "reception.db"
    open_database(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = path.read_bytes()
    with pytest.raises(TryggError, match=r"was written by a newer Tryggport \(schema 9999, this one knows \d+\)"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_full_disk_a_lock_and_a_read_only_file_are_explained_and_store_nothing(db, tmp_path):
    path = tmp_path / "reception.db"
    arrive(db, event(0))

    def refused(pragma, undo, sentence):
        with db.read() as tx:
            tx.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(TryggError) as e:
            arrive(db, *(event(seq, kinds.MAINS, data={6: bytes(64)}) for seq in range(1, 150)), alarm=False)
        assert e.value.message == f"The database {path} {sentence}."
        with db.read() as tx:
            tx.exec_driver_sql(f"PRAGMA {undo}")

    refused("max_page_count = 1", "max_page_count = 1000000", "cannot grow: the disk is full")
    refused("query_only = 1", "query_only = 0", "cannot be written")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused("busy_timeout = 100", f"busy_timeout = {database.BUSY_TIMEOUT_S}", "is locked by another program")
        other.execute("ROLLBACK")
    assert len(views.list_events(centre(db))) == 1
    assert len(arrive(db, event(1))) == 1


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


def test_TP_WIR_004_keys_are_those_that_the_device_CA_certified_for_that_gateway(tmp_path):
    folder = tmp_path / "pki"
    pki.init(folder)
    clock = Clock()
    ring = KeyRing(folder, clock)
    gateway, other = Gateway(folder, "kitchen-7"), Gateway(folder, "garage-2")

    def reason(gateway_id, kid):
        try:
            ring.key(gateway_id, kid)
        except EnvelopeError as e:
            return e.reason
        return "found"

    assert reason("kitchen-7", gateway.key.kid) == "found"
    assert reason("kitchen-7", other.key.kid) == "unknown_key"
    assert reason("cellar-1", gateway.key.kid) == "unknown_gateway"
    homes = {name: folder / "gateways" / name for name in ("kitchen-7", "garage-2", "cellar-1")}
    homes["cellar-1"].mkdir()

    def put(source, name):
        (homes[name] / "sign.pem").write_bytes(source.read_bytes())
        clock.now_s += RECHECK_S

    put(homes["kitchen-7"] / "sign.pem", "cellar-1")  # another gateway's certificate
    assert reason("cellar-1", gateway.key.kid) == "unknown_gateway"
    put(homes["kitchen-7"] / "tls.pem", "cellar-1")  # not for signing
    assert reason("cellar-1", gateway.key.kid) == "unknown_gateway"
    pki.init(tmp_path / "foreign")
    foreign = Gateway(tmp_path / "foreign", "cellar-1")  # another CA
    put(tmp_path / "foreign" / "gateways" / "cellar-1" / "sign.pem", "cellar-1")
    assert reason("cellar-1", foreign.key.kid) == "unknown_gateway"
    (homes["cellar-1"] / "sign.pem").write_text("junk")
    clock.now_s += RECHECK_S
    assert reason("cellar-1", foreign.key.kid) == "unknown_gateway"

    tls, sign = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))  # after the gateway was wiped
    pki.issue_device(folder, csr(tls, "kitchen-7"), csr(sign, "kitchen-7"), "kitchen-7", replace=True)
    clock.now_s += RECHECK_S
    assert reason("kitchen-7", kid_of(sign.public_key())) == "found"
    assert reason("kitchen-7", gateway.key.kid) == "unknown_key"


def test_made_up_names_cost_one_look_at_the_disk_each(tmp_path):
    """Once known as unknown, an id is not looked for again until RECHECK_S has passed."""
    folder = tmp_path / "pki"
    pki.init(folder)
    clock = Clock()
    ring = KeyRing(folder, clock)
    with pytest.raises(EnvelopeError):
        ring.key("kitchen-7", bytes(8))
    gateway = Gateway(folder, "kitchen-7")
    with pytest.raises(EnvelopeError):
        ring.key("kitchen-7", gateway.key.kid)
    clock.now_s += RECHECK_S
    assert ring.key("kitchen-7", gateway.key.kid)
