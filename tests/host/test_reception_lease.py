"""Several workers on one database: who leads, what keeps them apart, and what becomes of what cannot be stored."""

import contextlib
import threading
import time

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import World
from sqlalchemy import update
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.reception import lease as lease_module
from tryggport.reception import ledger, seats, supervision, timers, views
from tryggport.reception.adoption import Adoption
from tryggport.reception.duty import Duty
from tryggport.reception.escalation import Escalation
from tryggport.reception.lease import LEASE_MS, Lease, NotLeadingError, lease
from tryggport.reception.standby import KEEP_S, LAST, Standby
from tryggport.sim.gateway import Gateway

SHORT_MS = 1000  # a lease in these tests
STEADY_MS = 2000  # one that a busy machine does not lose
RENEW_S = 0.1


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
    assert time.monotonic() - began_s <= SHORT_MS / 1000 + 2
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


def test_TP_REC_201_who_looked_at_the_clock_before_the_holder_prolonged_its_lease_does_not_take_it(world, monkeypatch):
    """On PostgreSQL the holder's commit may come between a look at the clock and the act upon it."""
    one, two = a_lease(world), a_lease(world, "two")
    assert one.attempt()
    monkeypatch.setattr(lease_module, "clock_ms", lambda tx, real=lease_module.clock_ms: real(tx) - SHORT_MS // 2)
    assert not two.attempt()
    assert one.attempt() and one.term == 1


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
    first = Duty(Lease(world.db, "one", STEADY_MS), one, said.append, renew_s=RENEW_S)
    second = Duty(Lease(world.db, "two", STEADY_MS), two, said.append, renew_s=RENEW_S)
    with first, second:
        assert (one.began, two.began) == (1, 0)
        with world.db.write() as tx:  # somebody else has it, as after a long pause
            tx.execute(update(lease).values(holder="three", term=7))
        assert in_time(lambda: one.ended == 1)
        assert said == ["leads no more"]
        assert in_time(lambda: one.began + two.began == 2, 20)
    assert one.overlaps == two.overlaps == 0
    third = Work()
    with Duty(Lease(world.db, "four", STEADY_MS), third, said.append, renew_s=RENEW_S) as last:
        assert last.leads() and third.began == 1  # the one before has given it back: no wait
    assert third.ended == 1


def test_TP_REC_201_work_that_cannot_begin_leaves_the_lead_to_another_one(world):
    @contextlib.contextmanager
    def broken():
        raise TryggError("The port is taken.")
        yield

    with pytest.raises(TryggError, match="The port is taken"), Duty(Lease(world.db, "one", STEADY_MS), broken, print):
        pass
    work, said = Work(), []
    holder = a_lease(world, "before")
    assert holder.attempt()
    with Duty(Lease(world.db, "one", STEADY_MS), broken, said.append, renew_s=RENEW_S):
        assert in_time(lambda: said == ["cannot lead: The port is taken."])
        with Duty(Lease(world.db, "two", STEADY_MS), work, said.append, renew_s=RENEW_S):
            assert in_time(lambda: work.began == 1)


@pytest.mark.parametrize("when", ["begins", "ends"])
def test_TP_REC_201_a_fault_of_ours_in_the_work_leaves_the_lead_to_another_one(world, when):
    @contextlib.contextmanager
    def faulty():
        if when == "begins":
            raise ValueError("ours")
        yield
        raise ValueError("ours")

    work, said, fit = Work(), [], threading.Event()
    holder = a_lease(world, "before")
    assert holder.attempt()
    first = Duty(Lease(world.db, "one", STEADY_MS), faulty, said.append, fit=fit.is_set, renew_s=RENEW_S, unfit_s=0.3)
    with first:
        assert in_time(lambda: "cannot lead: fault in this program: ValueError('ours')" in said)
        with Duty(Lease(world.db, "two", STEADY_MS), work, said.append, renew_s=RENEW_S):
            assert in_time(lambda: work.began == 1, 5)


def test_TP_REC_201_a_fault_of_ours_in_the_look_at_the_seat_ends_the_worker_in_order(world):
    failed = []

    def check():
        raise ValueError("ours")

    with Duty(Lease(world.db, "one", STEADY_MS), Work(), print, check=check, fail=failed.append, renew_s=RENEW_S):
        assert in_time(lambda: failed)
    assert failed[0].message == "fault in this program: ValueError('ours')"


def test_TP_REC_201_a_leader_without_a_broker_gives_way_to_a_worker_that_has_one(world):
    one, two, said, connected = Work(), Work(), [], threading.Event()
    connected.set()
    first = Duty(
        Lease(world.db, "one", STEADY_MS), one, said.append, fit=connected.is_set, renew_s=RENEW_S, unfit_s=0.3
    )
    with first, Duty(Lease(world.db, "two", STEADY_MS), two, said.append, renew_s=RENEW_S):
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
    assert in_time(lambda: _orphans(world) == [1, 5])
    last = [seats.take(world.db, folder) for _ in range(3)]
    assert [seat.name for seat in last] == ["reception", "reception-5", "reception-2"]
    for seat in last:
        seat.give_back(empty=True)


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


def test_TP_REC_207_a_fault_of_ours_in_fetching_is_told_and_the_seat_is_tried_again(postgres_world):
    world, fetched, said = postgres_world, [], []
    seats.try_take(world.db, 5).give_back(empty=False)

    def fetch(seat):
        fetched.append(seat.name)
        if len(fetched) == 1:
            raise ValueError("ours")
        return True

    with Adoption(world.db, fetch, lambda: True, said.append, patience_s=0):
        assert in_time(lambda: len(fetched) == 2 and _orphans(world) == [], 30), (fetched, said)
    assert (fetched, said) == (["reception-5"] * 2, ["fault in this program: ValueError('ours')"])


def _orphans(world):
    with world.db.read() as tx:
        return seats.orphans(tx)


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
