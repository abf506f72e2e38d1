"""kill -9 of a worker at each step, and at any moment: nothing is lost, nothing is doubled (TP-REC-207)."""

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tryggport.reception import open_database, orders
from tryggport.reception.adoption import PATIENCE_S
from tryggport.wire.order import COMMAND

sys.path.append(str(Path(__file__).parents[1] / "host"))
from reception_databases import postgres  # noqa: F401
from workers_site import AGAIN_S, LEASE_MS, Flow, Resident, Workers, check_once

STEPS = (
    "received", "verified", "commit.begin", "commit.begun", "commit.inserted", "commit.end", "receipt.begin",
    "receipt.end", "puback",
)  # fmt: skip
# Of the seats those that somebody has.
SERVING = (
    "SELECT holder FROM seats WHERE number IN (SELECT objid FROM pg_locks WHERE locktype = 'advisory'"
    " AND classid = 29810 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)


@pytest.fixture
def site(tmp_path, postgres):  # noqa: F811
    with Workers(tmp_path, postgres.fresh()) as made, made.broker():
        yield made


def test_TP_REC_207_kill_9_of_a_worker_at_each_step_loses_nothing_and_doubles_nothing(site, record_property):
    """Of two workers one dies; the proof that it was at the step is its last word. Its seat is free for the next one at once."""
    stays = site.worker()
    slowest = {}
    for number, step in enumerate(STEPS):
        gateway = site.gateway(f"home-{number:04}")
        dies = site.worker(kill=step, gateway=gateway.id)
        assert dies.name != stays.name
        with site.connected(gateway):
            resident = Resident(gateway)
            deadline = time.monotonic() + 20
            while dies.popen.poll() is None and time.monotonic() < deadline:
                resident.alarm()
                resident.look(0.02)
            assert dies.popen.wait(10) == -signal.SIGKILL, step
            dies.wait_line(f"^stopped at {step}$")
            for _ in range(3):
                resident.alarm()
            assert resident.settled(), step
        check_once(site, resident)
        slowest[step] = resident.slowest_s
    assert stays.popen.poll() is None
    shown = ", ".join(f"{step} {seconds:.2f}" for step, seconds in slowest.items())
    record_property(
        "shown", f"Slowest receipt in s, a worker of two killed at (a gateway repeats after {AGAIN_S:g} s): {shown}"
    )


def refused(site, gateway):
    """An envelope with another's signature."""
    sealed = gateway.seal(gateway.event())
    gateway.next_seq -= 1
    gateway.post(sealed[:-1] + bytes([sealed[-1] ^ 1]))


def order(site, gateway):
    with contextlib.closing(open_database(site.url)) as database:
        orders.queue(database, gateway.id, COMMAND, 1, b"an order, which only its gateway reads")


def online(site, gateway):
    gateway.birth()


def offline(site, gateway):
    gateway.birth()
    gateway.birth(online=False)


@pytest.mark.parametrize("about", [refused, order, online, offline])
def test_TP_REC_207_kill_9_at_a_step_that_is_about_no_alarm_loses_nothing_and_doubles_nothing(site, about):
    """The leader dies, whose task most of these are; what it was about is done by the next one."""
    step = about.__name__
    dies = site.worker(kill=step)
    gateway = site.gateway()
    with site.connected(gateway):
        resident = Resident(gateway)
        resident.alarm()
        assert resident.settled()
        stays = site.worker()
        about(site, gateway)
        deadline = time.monotonic() + 20
        while dies.popen.poll() is None and time.monotonic() < deadline:
            if about is refused:  # which of them gets it is for the broker to say
                refused(site, gateway)
            resident.alarm()
            resident.look(0.02)
        assert dies.popen.wait(10) == -signal.SIGKILL
        dies.wait_line(f"^stopped at {step}$")
        stays.wait_line("^step lead$", LEASE_MS / 1000 + 10)
        again = site.worker()  # and has the dead one's seat, with what was not acknowledged
        for _ in range(3):
            resident.alarm()
        assert resident.settled()
        assert site.wait_for(lambda: any(f"step {step}" in worker.lines for worker in (stays, again)), 15)
    check_once(site, resident)
    said = {
        refused: ("SELECT count >= 1 FROM refusals WHERE reason = 'bad_signature'", [(True,)]),
        order: ("SELECT sent_ms IS NOT NULL FROM orders WHERE gateway = 'kitchen-7'", [(True,)]),
        online: ("SELECT online, connect FROM statuses WHERE gateway = 'kitchen-7'", [(True, 1)]),
        offline: ("SELECT online, connect FROM statuses WHERE gateway = 'kitchen-7'", [(False, 1)]),
    }
    query, expected = said[about]
    assert site.wait_for(lambda: site.query(query) == expected, 5), site.query(query)


def test_TP_REC_207_kill_9_of_a_worker_as_it_begins_to_lead(site):
    dies = site.process(site.worker_command(kill="lead"))
    assert dies.popen.wait(30) == -signal.SIGKILL
    dies.wait_line("^stopped at lead$")
    stays = site.worker()
    gateway = site.gateway()
    with site.connected(gateway):
        resident = Resident(gateway)
        for _ in range(5):
            resident.alarm()
        assert resident.settled()
        stays.wait_line("^step lead$", LEASE_MS / 1000 + 10)
    check_once(site, resident)


def test_TP_REC_207_what_a_dead_worker_held_comes_back_when_it_begins_again_without_the_gateway(site):
    """A worker that begins again has the seat of the dead one, and with it the session with what was not acknowledged."""
    gateway = site.gateway()
    dies = site.worker(kill="commit.begun")
    with site.connected(gateway):
        resident = Resident(gateway, again_s=1e9)
        resident.alarm()
        assert dies.popen.wait(20) == -signal.SIGKILL
        assert site.count("events") == 0
        assert site.worker().name == "reception"
        assert resident.settled()
    check_once(site, resident)


def test_TP_REC_207_the_leader_fetches_what_the_brokers_hold_for_a_worker_that_stays_away(site):
    """Nobody takes the seat of the dead one, and the gateway never repeats: what the broker had given to it still arrives."""
    assert PATIENCE_S == 10  # TP-BND-243
    stays = site.worker()
    dies = site.worker(kill="received")
    gateway = site.gateway()
    with site.connected(gateway):
        resident = Resident(gateway, again_s=1e9)
        while dies.popen.poll() is None:
            resident.alarm()
            resident.look(0.05)
        for _ in range(6):  # half of them go to the session of the dead one
            resident.alarm()
        assert not resident.settled(2)
        assert site.query("SELECT number FROM seats ORDER BY number") == [(1,), (2,)]
        assert resident.settled(PATIENCE_S + 20)
        assert site.wait_for(lambda: site.query("SELECT number FROM seats") == [(1,)])
        for _ in range(6):
            resident.alarm()
        assert resident.settled(5)
    check_once(site, resident)
    assert stays.popen.poll() is None


@pytest.mark.long
def test_TP_REC_207_a_minute_of_kills_while_five_homes_call(site, record_property):
    """Whichever worker it is, the leader too, at whatever it is just doing: every few seconds one is killed."""
    chance = random.Random(7)
    crew = site.run_reception("--workers", "3")
    crew.wait_line("all 3 workers are ready$")
    kills = 0
    with contextlib.ExitStack() as stack:
        residents = [Resident(site.gateway(f"home-{number:04}"), again_s=10) for number in range(5)]
        for resident in residents:
            stack.enter_context(site.connected(resident.gateway))
        with contextlib.ExitStack() as flows:
            for resident in residents:
                flows.enter_context(Flow(resident, every_s=0.1))
            end_s = time.monotonic() + 60
            while time.monotonic() < end_s:
                time.sleep(chance.uniform(2, 6))
                ready = len(crew.wait_line(": ready$"))
                pids = [int(holder.rpartition(" ")[2]) for (holder,) in site.query(SERVING)]
                if pids:
                    os.kill(chance.choice(pids), signal.SIGKILL)
                    kills += 1
                    crew.wait_line(": ready$", 60, ready + 1)
        assert kills >= 5
        assert all(resident.settled(60) for resident in residents)
    for resident in residents:
        check_once(site, resident)
    alarms = sum(len(resident.events) for resident in residents)
    slowest_s = max(resident.slowest_s for resident in residents)
    record_property(
        "shown", f"{alarms} alarms through {kills} kills of one of three workers, slowest receipt {slowest_s:.1f} s"
    )
