"""The reception beside its receiver: its own test alarms, and the walk from a fall to the municipality's work list."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reception_site import site  # noqa: F401
from scaip_site import CID, arc, channel
from tryggport.errors import TryggError
from tryggport.reception import SqlDeliveries, cases, installations, open_database, tenants, views, vital
from tryggport.reception.canary import Canary
from tryggport.reception.escalation import Escalation, Step, set_steps
from tryggport.reception.findings import Limits
from tryggport.reception.installations import CANARY, Placement
from tryggport.reception.ledger import now_ms
from tryggport.reception.scaip_step import ScaipStep
from tryggport.reception.supervision import Supervisor
from tryggport.reception.timers import Timers
from tryggport.scaip.behaviour import behaviour
from tryggport.sim import movement
from tryggport.sim.chain import Chain

sys.path.append(str(Path(__file__).parents[1] / "host"))
from https_site import https_server

HEARTBEAT_S = 2
GRACE_MS = 3000
UNDELIVERED_MS = 3000  # a minute, scaled


def in_time(condition: Callable[[], object], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_TP_REC_009_the_canary_goes_the_whole_way_and_pulses_only_when_it_has_come_back(site):  # noqa: F811
    pulses: list[int] = []
    said: list[str] = []

    def fails() -> None:
        raise TryggError("This pulse fails.")

    def is_faulty() -> None:
        raise ValueError("ours")

    with contextlib.closing(open_database(site.url)) as database:
        where = (site.host, site.port, now_ms, [fails, is_faulty, lambda: pulses.append(1)], said.append, 3)
        canary = Canary(site.pki, database, *where)
        with site.reception():
            assert canary.tick() and canary.tick()
            assert (len(pulses), said) == (2, ["This pulse fails.", "fault in this program: ValueError('ours')"] * 2)
        assert views.vital_signs(tenants.centre(database))["canary"] > now_ms() - 10_000
        assert not canary.tick()  # no reception: the broker keeps the alarm, and no pulse says that all is well
        assert len(pulses) == 2 and "did not come through: No receipt" in said[-1]
        again = Canary(site.pki, database, *where)  # after a restart it is the same gateway with the same keys
        with site.reception():
            assert again.tick()
        centre = tenants.centre(database)
        assert len(views.list_events(centre, CANARY)) == 4  # also the one that had to wait
        assert views.list_events(centre) == [] and views.list_cases(centre, held=True) == []
        with database.write() as tx:
            vital.note(tx, vital.TIMERS, now_ms() - 61_000)
        with site.reception():
            assert not again.tick()  # alarms arrive, and nobody would hear of them
        assert "stand still" in said[-1] and len(pulses) == 3
        assert not Canary(site.pki, database, site.host, 1, now_ms, (), said.append, 3).tick()
        assert "does not reach the broker" in said[-1]
        assert not Canary(site.pki, database, site.host, 0, now_ms, (), said.append, 3).tick()
        assert "did not come through: fault in this program" in said[-1]


def test_without_the_keys_for_it_the_reception_says_that_it_has_no_canary(site):  # noqa: F811
    (site.pki / "device-ca.key").unlink()
    with site.reception_process() as process:
        assert process.first_line.startswith("reception: no test alarms of its own: ")
        assert process.stdout.readline() == "reception: ready\n"


def test_TP_REC_009_a_reception_as_it_is_deployed_calls_the_dead_man_url(site):  # noqa: F811
    with https_server(site.pki, [204]) as (url, asked, ca):
        with site.reception_process("--dead-man", f"{url}/alive", "--ca", str(ca)):
            assert in_time(lambda: asked)
        assert [(method, path) for method, path, _, _ in asked] == [("GET", "/alive")]
    assert site.query("SELECT count(*) FROM events WHERE gateway = 'reception-canary'") == [(1,)]


@pytest.fixture
def chain(tmp_path):
    placement = {"heartbeat_s": HEARTBEAT_S, "grace_ms": GRACE_MS}
    with Chain(tmp_path, broker="mosquitto", placement=placement) as made:
        yield made


def test_TP_REC_018_a_fall_goes_to_the_second_receiver_is_taken_and_later_silence_is_on_the_work_list(
    chain: Chain,
) -> None:
    """A fall; the first SCAIP receiver is busy, the second has it; an operator takes it; the home shows it; the heartbeat stops."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(contextlib.closing(open_database(chain.database_url)))
        busy, second = stack.enter_context(arc(always=behaviour("busy"))), stack.enter_context(arc())
        centre = tenants.centre(database)
        installations.add_municipality(centre, "Asker", "Ida")
        asker = tenants.municipality(database, "Asker")
        home = Placement(home="A-1", gateway=chain.gateway, cid=CID)
        installations.assign(centre, "Asker", home, "Ida", now_ms())
        receivers = {"primary": busy.udp, "secondary": second.tcp}
        set_steps(centre, "Asker", [Step("scaip", name, uri) for name, uri in receivers.items()], "Ida")
        limits = Limits(heartbeat_ms=HEARTBEAT_S * 1000)
        ours, _ = stack.enter_context(channel(SqlDeliveries(database)))
        escalation = Escalation(database, lambda step: ScaipStep(ours, step.target), now_ms, UNDELIVERED_MS, 1000)
        supervisor = Supervisor(database, now_ms, limits)
        stack.enter_context(Timers(database, supervisor, escalation, say=pytest.fail, beat_s=0.1, look_s=0.5))

        chain.board.feed(movement.fall(), movement.RATE_HZ)
        assert chain.wait_light("sent")
        assert (
            views.list_cases(asker) == [] and len(views.list_cases(asker, held=True)) == 1
        )  # the home may still cancel
        assert in_time(lambda: views.list_cases(asker))
        assert chain.wait_light("handed_over")
        assert len(busy.refs) >= 3 and {*busy.refs} == {*second.refs} and len(second.seen) == 1
        (case,) = views.list_cases(asker)
        cases.take(asker, case["id"], "Kari")
        assert chain.wait_light("taken")
        cases.close(asker, case["id"], "Kari", "fall", "helped up")
        assert len(second.seen) == 1
        assert not [row for row in views.work_list(asker) if row["kind"] == "silent"]

        stopped_ms = now_ms()
        chain.board.network(False)
        assert in_time(lambda: [row for row in views.work_list(asker) if row["kind"] == "silent"])
        assert now_ms() - stopped_ms <= 3 * HEARTBEAT_S * 1000 + 2000  # the look, and this machine
        (line,) = [row for row in views.work_list(asker) if row["kind"] == "silent"]
        assert line["sentence"].startswith(f"The gateway {chain.gateway} in home A-1 is silent.")
