"""Several workers on one database: who leads, what keeps them apart, and what becomes of what cannot be stored."""

import contextlib
import threading
import time

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import EPOCH, World
from sqlalchemy import create_engine, text, update
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import aside, database, ledger, open_database, seats, store, supervision, timers, turns, views
from tryggport.reception.duty import Duty
from tryggport.reception.escalation import Escalation
from tryggport.reception.lease import LEASE_MS, Lease, NotLeadingError
from tryggport.reception.schema import cases, lease
from tryggport.reception.standby import KEEP_S, LAST, Standby
from tryggport.sim.gateway import Gateway
from tryggport.wire import kinds
from tryggport.wire.order import COMMAND, DONE, Result
from tryggport.wire.status import Status

SHORT_MS = 600  # a lease in these tests


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


class Clock:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def a_lease(world, name="one", clock=None, lease_ms=SHORT_MS):
    return Lease(world.db, name, lease_ms, clock or Clock())


def in_time(condition, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_TP_REC_201_one_leads_and_when_it_dies_another_one_does_within_the_lease(world):
    assert LEASE_MS == 10_000  # TP-BND-242
    one, two = a_lease(world), a_lease(world, "two")
    assert one.attempt() and not two.attempt()
    assert one.attempt() and (one.term, two.term) == (1, None)
    assert views.workers(world.centre)["leader"] == "one"
    began_s = time.monotonic()  # one dies: it says nothing any more
    assert in_time(two.attempt, 5)
    assert time.monotonic() - began_s <= SHORT_MS / 1000 + 0.5
    assert two.term == 2 and not one.attempt() and one.term is None
    two.release()
    assert one.attempt() and one.term == 3  # at once


def test_TP_REC_201_a_leader_that_cannot_renew_stops_before_its_lease_ends(world):
    clock = Clock()
    one = a_lease(world, clock=clock)
    assert one.attempt()
    clock.s = 0.79 * SHORT_MS / 1000
    assert one.held
    clock.s = 0.81 * SHORT_MS / 1000  # by the database's clock the lease still lasts
    assert not one.held
    with pytest.raises(NotLeadingError), world.db.fenced(one.check).write():
        pytest.fail("it acted")


def test_TP_REC_202_who_was_paused_in_the_middle_does_nothing_after_another_one_leads(world):
    """Its own clock stands still, as that of a process that was stopped and has not looked yet."""
    one, two = a_lease(world), a_lease(world, "two")
    world.alarm(0)
    assert one.attempt()
    ours = Escalation(world.db.fenced(one.check), lambda step: pytest.fail("told"), world.clock)
    assert in_time(two.attempt, 5)
    assert one.held  # so it believes
    for act in (ours.tick, supervision.Supervisor(world.db.fenced(one.check), world.clock).tick):
        with pytest.raises(NotLeadingError):
            act()
    ours.close()
    assert world.history() == ["fall"]
    theirs = Escalation(world.db.fenced(two.check), lambda step: pytest.fail("told"), world.clock)
    assert two.attempt()
    theirs.tick()
    theirs.close()
    assert world.history() == ["fall", "goes to console"]


def test_TP_REC_202_a_new_leader_waits_for_the_transaction_of_the_old_one(postgres_world):
    world = postgres_world
    one, two = a_lease(world), a_lease(world, "two")
    assert one.attempt()
    done = threading.Event()
    with world.db.fenced(one.check).write() as tx:
        ledger.record(tx, "one", "acts")
        time.sleep(1.5 * SHORT_MS / 1000)  # its lease is over meanwhile
        thread = threading.Thread(target=lambda: (two.attempt(), done.set()))
        thread.start()
        assert not done.wait(0.3)
    thread.join()
    assert two.term == 2
    with pytest.raises(NotLeadingError), world.db.fenced(one.check).write():
        pytest.fail("it acted")


def test_TP_REC_201_a_database_clock_that_went_back_does_not_leave_all_without_a_leader(world):
    one = a_lease(world)
    assert one.attempt()
    with world.db.write() as tx:
        tx.execute(update(lease).values(until_ms=lease.c.until_ms + 3_600_000))
    assert a_lease(world, "two").attempt()


class Work:
    """Counts how often it began, and whether two ran at once."""

    running = 0

    def __init__(self):
        self.began = 0
        self.ended = 0
        self.overlaps = 0

    @contextlib.contextmanager
    def __call__(self):
        self.began += 1
        Work.running += 1
        self.overlaps += Work.running > 1
        yield
        Work.running -= 1
        self.ended += 1


def test_TP_REC_201_the_duty_moves_when_the_leader_goes_and_ends_when_it_can_renew_no_more(world):
    one, two, said = Work(), Work(), []
    renew_s = SHORT_MS / 5000
    first = Duty(Lease(world.db, "one", SHORT_MS), one, said.append, renew_s=renew_s)
    second = Duty(Lease(world.db, "two", SHORT_MS), two, said.append, renew_s=renew_s)
    with first, second:
        assert (one.began, two.began) == (1, 0)
        with world.db.write() as tx:  # somebody else has it, as after a long pause
            tx.execute(update(lease).values(holder="three", term=7))
        assert in_time(lambda: one.ended == 1)
        assert said == ["leads no more"]
        assert in_time(lambda: one.began + two.began == 2)
    assert one.overlaps == two.overlaps == 0
    third = Work()
    with Duty(Lease(world.db, "four", SHORT_MS), third, said.append, renew_s=renew_s) as last:
        assert last.leads() and third.began == 1  # the one before has given it back: no wait
    assert third.ended == 1


def test_TP_REC_201_work_that_cannot_begin_leaves_the_lead_to_another_one(world):
    @contextlib.contextmanager
    def broken():
        raise TryggError("The port is taken.")
        yield

    with pytest.raises(TryggError, match="The port is taken"), Duty(Lease(world.db, "one", SHORT_MS), broken, print):
        pass
    work, said = Work(), []
    holder = a_lease(world, "before")
    assert holder.attempt()
    renew_s = SHORT_MS / 5000
    with Duty(Lease(world.db, "one", SHORT_MS), broken, said.append, renew_s=renew_s):
        assert in_time(lambda: said == ["cannot lead: The port is taken."])
        with Duty(Lease(world.db, "two", SHORT_MS), work, said.append, renew_s=renew_s):
            assert in_time(lambda: work.began == 1)


def test_TP_REC_201_a_leader_without_a_broker_gives_way_to_a_worker_that_has_one(world):
    one, two, said, connected = Work(), Work(), [], threading.Event()
    connected.set()
    first = Duty(
        Lease(world.db, "one", SHORT_MS), one, said.append, fit=connected.is_set, renew_s=SHORT_MS / 5000, unfit_s=0.3
    )
    with first, Duty(Lease(world.db, "two", SHORT_MS), two, said.append, renew_s=SHORT_MS / 5000):
        time.sleep(0.5)
        assert (one.ended, two.began) == (0, 0)
        connected.clear()
        assert in_time(lambda: two.began == 1)
        assert one.ended == 1 and said == ["has no broker: another worker leads"]


def test_TP_REC_203_a_worker_that_does_not_lead_keeps_the_last_statuses_for_the_day_it_does():
    assert (KEEP_S, LAST) == (30, 2)  # TP-BND-245
    clock = Clock()
    standby = Standby(clock)
    for n in range(3):
        standby.keep(0, "trygg/1/kitchen-7/status", f"kitchen {n}")
    clock.s = KEEP_S - 1
    standby.keep(1, "trygg/1/kitchen-7/status", "kitchen by the other path")
    standby.keep(0, "trygg/1/garage-2/status", "garage")
    assert standby.release() == ["kitchen 1", "kitchen 2", "kitchen by the other path", "garage"]
    for n in range(3):
        standby.keep(0, f"trygg/1/home-{n}/status", n)
        clock.s += KEEP_S / 2 + 0.1  # what is older the leader has stored
    assert standby.release() == [2]
    assert standby.release() == []
    for topic, message in (("a", 1), ("b", 2), ("a", 3)):
        clock.s += 1
        standby.keep(0, topic, message)
    assert standby.release() == [1, 2, 3]


def test_TP_REC_200_each_worker_has_a_seat_and_a_dead_ones_goes_to_the_next(postgres_world, tmp_path):
    world, folder = postgres_world, tmp_path / "pki"
    pki.init(folder)
    first, second = seats.take(world.db, folder), seats.take(world.db, folder)
    assert (first.name, second.name) == ("reception", "reception-2")
    assert "idle = 5" in seats._KEEP_ALIVE and "interval = 2" in seats._KEEP_ALIVE  # TP-BND-241: when it cannot
    first._connection.close()  # its process is killed: the database sees the end of the connection
    assert in_time(lambda: _orphans(world) == [1])
    with pytest.raises(Exception, match="closed"):
        first.check()
    third = seats.take(world.db, folder)
    assert third.name == "reception"
    rest = [seats.take(world.db, folder) for _ in range(6)]
    with pytest.raises(TryggError) as e:
        seats.take(world.db, folder)
    assert e.value.message == "All 8 seats of this reception are taken."  # TP-BND-240
    for seat in (second, *rest):
        assert seat.leave()
        seat.give_back(empty=True)
    assert not third.leave()  # the last one: brokers keep for it what arrives meanwhile
    third.give_back(empty=False)
    assert in_time(lambda: _orphans(world) == [1])
    held = seats.try_take(world.db, 5)
    held.give_back(empty=False)  # the brokers may have something for it
    first = seats.take(world.db, folder)
    assert in_time(lambda: _orphans(world) == [5])
    assert seats.take(world.db, folder).name == "reception-5"
    assert first.name == "reception"


def test_TP_REC_200_without_a_certificate_for_the_next_worker_it_says_where_to_make_one(postgres_world, tmp_path):
    world, folder = postgres_world, tmp_path / "pki"
    pki.init(folder)
    (folder / "device-ca.key").unlink()
    seat = seats.take(world.db, folder)
    with pytest.raises(TryggError) as e:
        seats.take(world.db, folder)
    assert e.value.message == "The worker reception-2 has no certificate, and the device CA's key is not here."
    assert "tryggport pki workers" in e.value.hint
    seat.give_back(empty=True)
    assert not set(files.WORKERS) - {"reception", *(f"reception-{n}" for n in range(2, 9))}
    with pytest.raises(TryggError, match="the receiver's own"):
        Gateway(folder, "reception-2")


def _orphans(world):
    with world.db.read() as tx:
        return seats.orphans(tx)


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
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a fault'; END $$"
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
    result = Result(gateway="kitchen-7", epoch=EPOCH, kind=COMMAND, number=1, code=DONE, details={})
    engine = create_engine(world.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE orders RENAME TO away")
    aside.keep_results(world.db, [result], world.now_ms, said.append)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO orders")
    engine.dispose()
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


def test_TP_REC_202_the_timers_ask_before_each_act(world):
    said, leads = [], threading.Event()
    leads.set()
    asked = []

    class Looker:
        def promote(self):
            asked.append(leads.is_set())

        def tick(self):
            asked.append(leads.is_set())

    escalation = Escalation(world.db, lambda step: None, world.clock)
    with timers.Timers(world.db, Looker(), escalation, say=said.append, beat_s=0.01, look_s=0.01, leads=leads.is_set):
        assert in_time(lambda: len(asked) > 5)
        leads.clear()
        time.sleep(0.1)
        count = len(asked)
        time.sleep(0.2)
        assert len(asked) == count
    assert said == []
