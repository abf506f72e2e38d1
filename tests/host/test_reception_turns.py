"""Several workers on one database: whose turn it is, what becomes of what cannot be stored, what a stream shows, and schemas."""

import contextlib
import threading
import time

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import EPOCH, World
from sqlalchemy import create_engine, select, text, update
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import aside, database, ledger, open_database, store, supervision, turns, views
from tryggport.reception.schema import cases, orders
from tryggport.wire import kinds
from tryggport.wire.order import COMMAND, DONE, Result
from tryggport.wire.status import Status


@pytest.fixture
def world(each_database_url):  # noqa: F811
    made = World(each_database_url)
    yield made
    made.close()


@pytest.fixture
def postgres_world(postgres):  # noqa: F811
    made = World(postgres.fresh())
    yield made
    made.close()


def test_TP_REC_204_an_alarm_and_its_cancel_at_two_workers_find_each_other(postgres_world):
    """The first transaction has stored the fall and not committed; the second brings the cancel meanwhile."""
    world = postgres_world
    fall, cancel = world.event(0), world.event(1, state=kinds.STATE_CLEARED, ref=0)
    reached, go_on = threading.Event(), threading.Event()

    def wait(step, _detail):
        if step == "commit.inserted":
            reached.set()
            assert go_on.wait(10)

    arrivals = [store.Arrival(fall.gateway, True, fall)]
    first = threading.Thread(target=store.commit, args=(world.db, arrivals, [], world.now_ms, wait))
    first.start()
    assert reached.wait(10)
    second = threading.Thread(target=world.arrive, args=(cancel,))
    second.start()
    other = threading.Thread(target=world.arrive, args=(world.event(0, gateway="garage-2"),))
    other.start()
    other.join(10)
    assert not other.is_alive() and second.is_alive()  # another home does not wait
    go_on.set()
    first.join(10)
    second.join(10)
    assert world.case(1)["cancelled_ms"] == world.now_ms
    assert len(world.case(1)["alarms"]) == 2


def test_TP_REC_204_two_workers_with_the_same_events_in_another_order_store_each_once(postgres_world):
    world = postgres_world
    found = [world.event(seq, gateway=f"home-{home:04}") for home in range(20) for seq in range(3)]
    errors, outcomes = [], []

    def worker(events):
        try:
            for _ in range(5):
                outcomes.extend(settled.outcome for settled in world.arrive(*events))
        except TryggError as e:
            errors.append(e)

    threads = [
        threading.Thread(target=worker, args=(order,)) for order in (found, found[::-1], found[1::2] + found[::2])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert outcomes.count(kinds.OUTCOME_STORED) == len(found)
    assert outcomes.count(kinds.OUTCOME_DUPLICATE) == 14 * len(found)
    assert len(world.cases()) == 20


def test_TP_REC_204_a_regional_return_needs_no_more_locks_than_postgresql_has(postgres_world):
    """TP-BND-248: 8 workers, each with a batch of as many gateways as one transaction may have."""
    world = postgres_world
    assert turns.AT_ONCE * len(files.WORKERS) < 64 * 100 * 0.8  # max_locks_per_transaction, max_connections
    found = [world.event(0, kinds.MAINS, f"home-{home:04}", severity=2) for home in range(1001)]
    locks, sizes = [], []

    def look(step, detail):
        if step == "commit.inserted":
            with world.db.read() as tx:
                held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                locks.append(tx.execute(held).scalar_one())
            sizes.append(detail["events"])

    settled = store.commit(world.db, [store.Arrival(e.gateway, False, e) for e in found], [], world.now_ms, look)
    assert [item.outcome for item in settled] == [kinds.OUTCOME_STORED] * 1001
    assert sizes == [500, 500, 1] and max(locks) <= 500


def test_TP_REC_204_an_alarm_never_joins_a_case_that_is_being_closed(postgres_world):
    world = postgres_world
    world.alarm(0)
    with world.db.write() as tx:  # an operator closes it and has not committed
        tx.execute(update(cases).values(status="closed", closed_ms=1, closed_by="Kari", cause="fall"))
        thread = threading.Thread(target=world.alarm, args=(1,))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert [(case["status"], len(case["alarms"])) for case in world.cases()] == [("new", 1), ("closed", 1)]


def refuse(world, table, condition="true"):
    """The database refuses rows of a table, as one would for which the program has a fault."""
    engine = create_engine(world.url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN {condition} BEGIN SELECT RAISE(ABORT, 'a fault'); END"
            )
        else:
            connection.exec_driver_sql(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a fault'; END $$"
            )
            connection.exec_driver_sql(
                f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
            )
    engine.dispose()


def accept(world, table):
    engine = create_engine(world.url)
    with engine.begin() as connection:
        on = "" if engine.dialect.name == "sqlite" else f" ON {table}"
        connection.exec_driver_sql(f"DROP TRIGGER refuse{on}")
    engine.dispose()


def set_aside(world, *events):
    said = []
    arrivals = [store.Arrival(e.gateway, True, e) for e in events]
    settled = aside.commit(world.db, arrivals, [], world.now_ms, lambda name, detail: None, said.append)
    return {item.identity[2]: item.outcome for item in settled}, said


def test_TP_REC_205_an_event_that_cannot_be_stored_is_set_aside_shown_and_never_receipted(world):
    assert aside.TRIES == 3  # TP-BND-247
    refuse(world, "events", "NEW.seq = 13")
    batch = [world.event(seq, kinds.HELP) for seq in (12, 13, 14)]
    with pytest.raises(TryggError, match="a fault"):
        world.arrive(*batch)
    outcomes, said = set_aside(world, *batch)
    assert outcomes == {12: kinds.OUTCOME_STORED, 14: kinds.OUTCOME_STORED}
    assert len(said) == 1
    assert said[0].startswith("an event of kitchen-7 could not be stored and is set aside: not stored: ")
    (case,) = world.cases()
    assert [line["what"] for line in case["history"]] == ["help", "unreadable alarm", "help"]
    (kept,) = views.overview(world.centre)["unreadable"]
    assert kept["why"].startswith("not stored: ") and kept["copies"] == 1 and kept["case_id"] == case["id"]
    supervision.Supervisor(world.db, world.clock).tick()
    lines = [row["sentence"] for row in views.work_list(world.centre) if row["kind"] == "not stored"]
    assert len(lines) == 1 and "could not be stored, by a fault in this program" in lines[0]
    set_aside(world, batch[1])  # the gateway goes on sending it
    assert views.overview(world.centre)["unreadable"][0]["copies"] == 2
    assert len(world.cases()) == 1
    accept(world, "events")  # a later version can
    assert set_aside(world, batch[1]) == ({13: kinds.OUTCOME_STORED}, [])
    supervision.Supervisor(world.db, world.clock).tick()
    assert [row for row in views.work_list(world.centre) if row["kind"] == "not stored"] == []


def test_TP_REC_205_when_not_even_its_case_can_be_made_the_work_list_still_says_so(world):
    refuse(world, "cases")
    for copies in (1, 2):
        outcomes, said = set_aside(world, world.event(0))
        assert outcomes == {} and len(said) == 1
        (kept,) = views.overview(world.centre)["unreadable"]
        assert (kept["copies"], kept["case_id"]) == (copies, None)
    supervision.Supervisor(world.db, world.clock).tick()
    assert [row["kind"] for row in views.work_list(world.centre)] == ["not stored"]


def test_TP_REC_205_statuses_and_results_that_cannot_be_stored_are_counted(world):
    said = []
    fields = {"epoch": EPOCH, "boot": 1, "connect": 1, "next_seq": 0, "alarms": 0, "events": 0, "online": True}
    state = (Status(gateway="kitchen-7", uptime_ms=0, firmware="0.3.0", **fields), False)
    refuse(world, "statuses")
    assert aside.commit(world.db, [], [state], world.now_ms, lambda *_: None, said.append) == []
    accept(world, "statuses")
    refuse(world, "orders", "NEW.gateway = 'kitchen-7'")
    results = [
        Result(gateway=gateway, epoch=EPOCH, kind=COMMAND, number=1, code=DONE, details={})
        for gateway in ("kitchen-6", "kitchen-7", "kitchen-8")
    ]
    aside.keep_results(world.db, results, world.now_ms, said.append)
    with world.db.read() as tx:
        assert set(tx.execute(select(orders.c.gateway)).scalars()) == {"kitchen-6", "kitchen-8"}
    assert len(said) == 2
    (refused,) = views.overview(world.centre)["refusals"]
    assert (refused["gateway"], refused["reason"], refused["count"]) == ("kitchen-7", "fault", 2)


def test_TP_REC_208_the_stream_of_changes_skips_nothing_that_commits_late(postgres_world):
    """The first writer takes its number before the second one and commits after it."""
    world = postgres_world
    start = views.newest_change(world.centre)
    shown, done = [], threading.Event()

    def watch():
        last = start
        while not done.is_set() or len(shown) < 3:
            for line in views.changes(world.centre, last):
                last = line["id"]
                shown.append(line["what"])

    with world.db.write() as tx:
        ledger.record(tx, "Kari", "first")
        with world.db.write() as other:
            ledger.record(other, "Ola", "second")
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        time.sleep(0.3)
        assert shown == []  # the second is there; what came before it may still come
    with contextlib.suppress(ValueError), world.db.write() as tx:  # a number that nobody will ever see
        ledger.record(tx, "Kari", "taken back")
        raise ValueError
    with world.db.write() as tx:
        ledger.record(tx, "Kari", "third")
    done.set()
    watcher.join(10)
    assert shown == ["first", "second", "third"]


def test_TP_REC_208_a_stream_that_begins_now_waits_for_who_is_writing(postgres_world):
    world, found = postgres_world, []
    with world.db.write() as tx:
        ledger.record(tx, "Kari", "first")
        with world.db.write() as other:
            ledger.record(other, "Ola", "second")
        thread = threading.Thread(target=lambda: found.append(views.newest_change(world.centre)))
        thread.start()
        thread.join(0.3)
        assert found == []
    thread.join(10)
    assert found == [2]


def test_TP_REC_209_workers_that_start_together_bring_the_schema_up_to_date_once(postgres):  # noqa: F811
    postgres.fresh()
    postgres._create("empty", "template1")
    url, errors = postgres.url("empty"), []

    def start():
        try:
            open_database(url).close()
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    World(url).close()


def test_TP_REC_209_a_worker_of_the_release_before_goes_on_and_does_not_begin_anew(world):
    """Migrations only add; who is running does not notice, who starts says in a sentence that it is too old."""
    engine = create_engine(world.url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE events ADD COLUMN added_by_a_newer_one INTEGER"))
        connection.execute(text("CREATE TABLE added_too (id INTEGER PRIMARY KEY)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert [item.outcome for item in world.alarm(0)] == [kinds.OUTCOME_STORED]
    assert len(world.cases()) == 1
    with pytest.raises(TryggError) as e:
        open_database(world.url)
    assert f"was written by a newer Tryggport (schema 9999, this one knows {database.HEAD})" in e.value.message
    assert e.value.hint == "Update Tryggport on this machine."
