"""Several workers of one reception, on PostgreSQL, behind Mosquitto with TLS: one leads, each may be paused and replaced, while alarms flow."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from reception_site import Site
from tryggport.reception import installations, open_database, tenants
from tryggport.reception.database import STANDSTILL_S
from tryggport.reception.escalation import Step, set_steps
from tryggport.reception.installations import Placement
from tryggport.reception.ledger import now_ms
from tryggport.reception.link import LEAVE_S, _properties
from tryggport.reception.service import DRAIN_S, FLUSH_S
from tryggport.sim.broker import iotcore_broker, mosquitto
from tryggport.wire import kinds, topics

sys.path.append(str(Path(__file__).parents[1] / "host"))
from https_site import https_server
from reception_databases import postgres  # noqa: F401
from workers_site import LEASE_MS, Flow, Resident, Workers, check_once


@pytest.fixture
def site(tmp_path, postgres):  # noqa: F811
    with Workers(tmp_path, postgres.fresh()) as made, made.broker():
        yield made


def test_TP_REC_203_statuses_are_stored_once_by_the_leader_and_by_the_next_one_when_it_dies(site):
    one, two = site.worker(), site.worker()
    gateway = site.gateway()
    with site.connected(gateway):
        gateway.birth()
        assert site.wait_for(lambda: site.query("SELECT online FROM statuses WHERE gateway = 'kitchen-7'") == [(True,)])
        assert len(one.wait_line("^step online$")) == 1 and "step online" not in two.lines
        assert site.leader() == (one.name, one.popen.pid)
        one.popen.kill()
        one.popen.wait()
        gateway.connects += 1
        gateway.birth()  # nobody leads: the lease of the dead one still lasts
        assert site.query("SELECT connect FROM statuses WHERE gateway = 'kitchen-7'") == [(1,)]
        two.wait_line("^step online$", LEASE_MS / 1000 + 5)
        assert site.query("SELECT connect FROM statuses WHERE gateway = 'kitchen-7'") == [(2,)]
    assert site.query("SELECT returns FROM sessions WHERE gateway = 'kitchen-7'") == [(0,), (0,)]


def place(site, url):
    """A home in Asker whose list is one web hook."""
    secret = site.folder / "hook.key"
    secret.write_bytes(b"a secret of thirty-two characters")
    with contextlib.closing(open_database(site.url)) as database:
        centre = tenants.centre(database)
        installations.add_municipality(centre, "Asker", "Ida")
        installations.assign(centre, "Asker", Placement(home="A-1", gateway="kitchen-7"), "Ida", now_ms())
        set_steps(centre, "Asker", [Step("webhook", "duty", url, 600_000, str(secret))], "Ida")


def refs(asked):
    return [headers["Idempotency-Key"] for _, _, headers, _ in asked]


def history(site):
    return [what for (what,) in site.query("SELECT what FROM audit WHERE case_id IS NOT NULL ORDER BY id")]


def other(worker, *workers):
    return next(one for one in workers if one is not worker)


def leading(site, *workers):
    """Which of them leads."""
    assert site.wait_for(lambda: site.leader() is not None)
    pid = site.leader()[1]
    return next(worker for worker in workers if worker.popen.pid == pid)


def test_TP_REC_201_kill_9_of_the_leader_another_one_leads_and_no_step_is_done_twice(site):
    gateway = site.gateway()
    with https_server(site.pki, [204]) as (url, asked, _), site.connected(gateway):
        place(site, url)
        workers = site.worker(), site.worker()
        first = leading(site, *workers)
        resident = Resident(gateway)
        resident.alarm()
        assert site.wait_for(lambda: "handed over to duty: HTTP 204" in history(site)), history(site)
        first.popen.kill()
        killed_s = time.monotonic()
        second = other(first, *workers)
        resident.alarm()  # joins the case while nobody leads
        second.wait_line("^step lead$")
        assert time.monotonic() - killed_s <= LEASE_MS / 1000 + 3
        assert site.leader() == (second.name, second.popen.pid)
        assert site.wait_for(lambda: len(asked) == 2)
        assert resident.settled()
        time.sleep(1)
        assert len(set(refs(asked))) == len(asked) == 2
        assert history(site).count("goes to duty") == 1
        assert site.query("SELECT count(*), max(position) FROM escalations") == [(1, 0)]
        assert site.query("SELECT state, count(*) FROM deliveries GROUP BY state") == [("delivered", 2)]


@pytest.mark.long
def test_TP_REC_201_kill_9_of_the_leader_while_an_alarm_leaves_the_house_it_goes_again_under_the_same_reference(
    site,
):
    gateway = site.gateway()
    workers = []

    def kill():
        leading(site, *workers).popen.kill()
        return 204  # to nobody

    with https_server(site.pki, [kill, 204]) as (url, asked, _), site.connected(gateway):
        place(site, url)
        workers += [site.worker(), site.worker()]
        resident = Resident(gateway)
        resident.alarm()
        assert site.wait_for(lambda: "handed over to duty: HTTP 204" in history(site), 60), history(site)
        assert sorted(worker.popen.poll() or 0 for worker in workers) == [-signal.SIGKILL, 0]
        assert len(asked) == 2 and len(set(refs(asked))) == 1
        assert resident.settled()
        assert history(site).count("goes to duty") == 1
        assert sum("handed over" in what for what in history(site)) == 1


def test_TP_REC_202_a_leader_that_was_paused_for_longer_than_its_lease_does_nothing_more(site):
    gateway = site.gateway()
    with https_server(site.pki, [204]) as (url, asked, _), site.connected(gateway):
        place(site, url)
        workers = site.worker(), site.worker()
        first = leading(site, *workers)
        second = other(first, *workers)
        first.popen.send_signal(signal.SIGSTOP)
        second.wait_line("^step lead$")
        resident = Resident(gateway)
        for _ in range(4):  # some go to the worker that stands still, until they come again
            resident.alarm()
        assert site.wait_for(lambda: "handed over to duty: HTTP 204" in history(site), 20), history(site)
        first.popen.send_signal(signal.SIGCONT)
        first.wait_line("leads no more")
        assert resident.settled()
        assert site.wait_for(lambda: len(asked) == 4)
        time.sleep(0.5)
        assert len(set(refs(asked))) == len(asked) == 4
        assert site.leader() == (second.name, second.popen.pid)
        assert history(site).count("goes to duty") == 1
        check_once(site, resident)


@pytest.mark.long
def test_TP_REC_204_a_worker_that_stands_still_in_a_transaction_keeps_no_home_waiting(site):
    assert STANDSTILL_S == 10  # TP-BND-249
    gateway = site.gateway()
    paused = site.worker(kill="commit.inserted", signal_=signal.SIGSTOP)
    with site.connected(gateway):
        resident = Resident(gateway)
        resident.alarm()
        paused.wait_line("^stopped at commit.inserted$")
        site.worker()
        assert not resident.settled(STANDSTILL_S / 2)
        assert resident.settled(STANDSTILL_S)
        paused.popen.send_signal(signal.SIGCONT)
        assert paused.popen.wait(20) == 1  # its transaction is gone
        paused.wait_line("TryggError")
    check_once(site, resident)


def test_TP_REC_206_every_worker_is_replaced_while_alarms_flow(site, record_property):
    """A graceful upgrade: SIGHUP replaces one after the other, SIGTERM ends them. No gateway has to repeat anything."""
    assert (LEAVE_S, DRAIN_S, FLUSH_S) == (2, 5, 2)  # TP-BND-244
    gateway = site.gateway()
    crew = site.run_reception("--workers", "2")
    crew.wait_line("all 2 workers are ready$")
    with site.connected(gateway):
        resident = Resident(gateway, again_s=1e9)
        with Flow(resident):
            time.sleep(0.5)
            crew.popen.send_signal(signal.SIGHUP)
            crew.wait_line("all 2 workers are new$", 60)
            time.sleep(0.5)
        assert resident.settled(10)
        check_once(site, resident)
        assert len(crew.wait_line(": ready$")) == 4
        assert all(outcomes == [kinds.OUTCOME_STORED] for outcomes in resident.outcomes.values())
        shown = f"{len(resident.events)} alarms through a rolling restart of two workers, slowest receipt {resident.slowest_s:.3f} s"
        record_property("shown", shown)
        assert resident.slowest_s < 2
        crew.popen.send_signal(signal.SIGTERM)
        assert crew.popen.wait(30) == 0
        resident.alarm()  # nobody is there; the last one has left a session in which it waits
        assert site.run_reception().name.startswith("reception")
        assert resident.settled(30)
    check_once(site, resident)


def test_TP_REC_206_a_second_reception_takes_over_from_the_first_one(site):
    """As on two machines: the new one is started, the old one ended, and it leads at once."""
    gateway = site.gateway()
    old = site.run_reception()
    assert old.name == "reception"
    with site.connected(gateway):
        resident = Resident(gateway, again_s=1e9)
        with Flow(resident):
            new = site.run_reception()
            assert new.name == "reception-2"
            old.popen.send_signal(signal.SIGTERM)
            assert old.popen.wait(30) == 0
            assert site.wait_for(lambda: site.leader() == ("reception-2", new.popen.pid), 5)
            time.sleep(0.3)
        assert resident.settled(5)
        assert site.query("SELECT number FROM seats") == [(2,)]
    check_once(site, resident)


def test_TP_REC_200_a_parent_begins_a_dead_worker_again_and_none_outlives_it(site, record_property):
    gateway = site.gateway()
    crew = site.run_reception("--workers", "2")
    crew.wait_line("all 2 workers are ready$")
    with site.connected(gateway):
        resident = Resident(gateway, again_s=10)
        with Flow(resident):
            os.kill(site.leader()[1], signal.SIGKILL)
            crew.wait_line("a worker ended with -9; another one begins in 1 s")
            crew.wait_line(": ready$", count=3)
        assert resident.settled()
    check_once(site, resident)
    record_property("shown", f"Slowest receipt when one of two workers is killed: {resident.slowest_s:.1f} s")
    crew.popen.kill()  # the parent itself
    assert site.wait_for(lambda: site.query("SELECT count(*) FROM pg_locks WHERE classid = 29810") == [(0,)], 30)


def test_TP_REC_200_sqlite_serves_one_worker(tmp_path):
    site = Site(tmp_path)
    done = site.run("reception", "run", "--pki", site.pki, "--db", site.url, "--workers", "2")
    assert done.returncode == 2
    assert done.stderr == (
        "tryggport: SQLite serves one worker.\n"
        "  For more: --db postgresql+psycopg://…, or leave out --workers.\n"
    )  # fmt: skip


def test_TP_REC_200_a_crew_whose_first_worker_cannot_serve_says_why_and_ends(tmp_path, postgres):  # noqa: F811
    with Workers(tmp_path, postgres.fresh()) as site:
        crew = site.run_reception("--workers", "2")
        assert crew.popen.wait(60) == 1
        crew.wait_line("No broker answers at")
        crew.wait_line("A worker cannot serve, so none does: it says above why.")


def test_TP_REC_200_the_session_of_a_reception_before_there_were_workers_is_taken_over(tmp_path):
    """It had subscribed for itself alone: what waits in it arrives, and nothing comes twice afterwards."""
    site = Site(tmp_path)
    with site.broker():
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="reception", protocol=paho.MQTTv5)
        client.tls_set(*(str(site.pki / name) for name in ("root.pem", "reception.pem", "reception.key")))
        subscribed = threading.Event()
        client.on_connect = lambda c, *_: c.subscribe([(topics.topic("+", leaf), 1) for leaf in topics.UP])
        client.on_subscribe = lambda *_: subscribed.set()
        client.connect(site.host, site.port, clean_start=False, properties=_properties())
        client.loop_start()
        assert subscribed.wait(10)
        client.disconnect()
        client.loop_stop()
        gateway = site.gateway()
        with site.connected(gateway):
            for _ in range(3):
                gateway.send(gateway.event())
            with site.reception():
                site.wait_step("puback", 3)
                time.sleep(0.3)  # the old subscriptions go
                for _ in range(3):
                    gateway.send(gateway.event())
                site.wait_step("puback", 6)
                time.sleep(0.3)
        assert site.names().count("received") == 6
        assert site.count("events") == 6


@pytest.mark.parametrize("kind", [mosquitto, iotcore_broker], ids=["mosquitto", "iotcore"])
def test_TP_REC_200_workers_share_the_alarms_at_either_broker(tmp_path, postgres, kind):  # noqa: F811
    with Workers(tmp_path, postgres.fresh()) as site, site.broker(kind):
        workers = site.worker(), site.worker()
        gateway = site.gateway()
        with site.connected(gateway):
            resident = Resident(gateway, again_s=1e9)
            for leaf in (topics.ALARM, topics.EVENT):
                for _ in range(5):
                    event = gateway.event(kinds.HELP)
                    resident.events.append(event)
                    resident._sent[event.seq] = [time.monotonic(), time.monotonic(), event]
                    gateway.post(gateway.seal(event, leaf=leaf), leaf)
            assert resident.settled()
        check_once(site, resident)
        for worker in workers:
            assert 0 < worker.lines.count("step verified") < 10
