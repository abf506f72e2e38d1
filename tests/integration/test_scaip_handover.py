"""From the gateway to the centre's own system and back to the home: reception, escalation list, SCAIP and simulated centres."""

import contextlib
import dataclasses
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from reception_site import site  # noqa: F401
from scaip_site import CID, FAST, arc, channel, fall, wait_for
from sqlalchemy import update
from tryggport.errors import TryggError
from tryggport.reception import (
    SqlDeliveries,
    cases,
    findings,
    handover,
    installations,
    open_database,
    schema,
    tenants,
    views,
    vital,
)
from tryggport.reception.escalation import CLAIM_MS, Escalation, Step, set_steps
from tryggport.reception.handover import Bridge
from tryggport.reception.installations import Placement
from tryggport.reception.ledger import now_ms
from tryggport.reception.scaip_step import ScaipStep, check_target
from tryggport.reception.supervision import Supervisor
from tryggport.reception.timers import Timers
from tryggport.scaip import channel as channel_module
from tryggport.scaip.behaviour import behaviour
from tryggport.scaip.codes import meaning
from tryggport.sim.chain import Chain
from tryggport.wire import kinds

sys.path.append(str(Path(__file__).parents[1] / "host"))
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import MINUTE, World

UNDELIVERED_MS = 2000  # a minute, scaled
RETRY_MS = 500


def place(url, gateway, *targets):
    """A home in Asker, whose list these SCAIP receivers are."""
    with contextlib.closing(open_database(url)) as database:
        centre = tenants.centre(database)
        installations.add_municipality(centre, "Asker", "Ida")
        placement = Placement(home="A-1", gateway=gateway, cid=CID, call_back="+4791234567")
        installations.assign(centre, "Asker", placement, "Ida", now_ms())
        set_steps(centre, "Asker", [Step("scaip", f"receiver {n}", target) for n, target in enumerate(targets)], "Ida")


@contextlib.contextmanager
def delivering(url, heartbeat_s=300.0):
    """What `reception run --scaip-listen` runs beside the receiver: the centre's scope."""
    with contextlib.closing(open_database(url)) as database, channel(SqlDeliveries(database), times=FAST) as (ours, _):
        escalation = Escalation(database, lambda step: ScaipStep(ours, step.target), now_ms, UNDELIVERED_MS, RETRY_MS)
        bridge = Bridge(database, ours, heartbeat_s=heartbeat_s, say=print)
        with Timers(database, Supervisor(database, now_ms), escalation, bridge=bridge, say=print, beat_s=0.1):
            yield tenants.centre(database)


def history(scope):
    return [row["what"] for case in views.list_cases(scope) for row in case["history"]]


def outcomes(gateway):
    return [gateway.receipts.get().outcome for _ in range(gateway.receipts.qsize())]


def test_TP_SCA_012_a_busy_primary_leads_to_the_secondary_and_the_home_hears_handed_over(site):  # noqa: F811
    gateway = site.gateway()
    with arc("busy") as primary, arc() as secondary, site.reception(), site.connected(gateway):
        place(site.url, gateway.id, f"{primary.udp} {secondary.tcp}")
        with delivering(site.url) as scope:
            gateway.send(gateway.event(kinds.HELP, location=21, sensor="pendant"))
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
            handed = gateway.receipt()
            assert (handed.outcome, [r[:2] for r in handed.ranges]) == (kinds.OUTCOME_HANDED_OVER, [(0, 0)])
            assert primary.refs == secondary.refs
            sent = secondary.seen[0].request
            assert (sent.cid, sent.crd, sent.cha, sent.lco, sent.dte) == (CID, "tel:+4791234567", 1, 21, "pendant")
            assert meaning(sent).kind == kinds.HELP
            assert "handed over to receiver 0: accepted" in history(scope)

            gateway.send(gateway.event(kinds.HELP, state=kinds.STATE_CLEARED, ref=0))  # the cancel button
            assert wait_for(lambda: "RE" in [s.request.mty for s in primary.seen])
            cases.take(scope, 1, "Kari")
            assert wait_for(lambda: kinds.OUTCOME_TAKEN in outcomes(gateway))
            gateway.send(
                gateway.event(kinds.HELP)
            )  # joins the case that is taken: never back to "the alarm centre has it"
            assert wait_for(lambda: len(primary.seen) == 3)
        assert wait_for(lambda: site.count("outbox") == 0)
        assert kinds.OUTCOME_HANDED_OVER not in outcomes(gateway)


def test_TP_SCA_013_a_primary_that_nobody_answers_at_is_followed_by_the_next_step(site):  # noqa: F811
    gateway = site.gateway()
    with (
        arc(always=behaviour("no-reply")) as primary,
        arc("snu=2,snu=2") as refusing,
        arc() as third,
        site.reception(),
        site.connected(gateway),
    ):
        place(site.url, gateway.id, primary.udp, refusing.udp, third.udp)
        with delivering(site.url) as scope:
            gateway.send(gateway.event(kinds.FALL))
            assert wait_for(lambda: third.seen, 15)
            assert {*primary.refs, *refusing.refs, *third.refs} == {third.refs[0]}
            assert len(refusing.seen) == 2
            told = history(scope)
            assert told.index("receiver 1 refuses it: invalid format") < told.index("goes to receiver 2")
            assert wait_for(lambda: kinds.OUTCOME_HANDED_OVER in outcomes(gateway))


def test_TP_SCA_012_TP_SCA_004_kill_9_of_the_reception_loses_nothing_and_doubles_nothing(site):  # noqa: F811
    gateway = site.gateway()
    listen = ("--scaip-listen", "udp:127.0.0.1:0")
    with arc(always=behaviour("no-reply")) as centre:
        place(site.url, gateway.id, centre.udp)
        with site.connected(gateway), site.reception_process(*listen):
            gateway.send(gateway.event(kinds.FALL))
            centre.wait(1, 20)
        centre.centre.always = behaviour("ok")
        with site.connected(gateway), site.reception_process(*listen):
            again_s = CLAIM_MS / 1000  # what the dead one had begun is its own for so long
            assert wait_for(lambda: kinds.OUTCOME_HANDED_OVER in outcomes(gateway), again_s + 15)
        assert len(set(centre.refs)) == 1
        assert [seen.from_user for seen in centre.seen] == [CID] * len(centre.seen)
        accepted = site.query("SELECT count(*) FROM audit WHERE what LIKE 'handed over to%'")
        assert accepted == [(1,)]


def test_TP_REC_201_TP_BND_213_who_finds_the_scaip_port_taken_leads_without_it_until_it_is_free(site):  # noqa: F811
    gateway = site.gateway()
    tried = "SELECT count(*) FROM deliveries WHERE attempts > 0 AND state = 'waiting'"
    with arc() as centre, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        place(site.url, gateway.id, centre.udp)
        listen = ("--scaip-listen", f"udp:127.0.0.1:{taken.getsockname()[1]}")
        with site.connected(gateway), site.reception_process(*listen):
            assert wait_for(lambda: vital_sign(site.url, vital.CANARY), 20)
            gateway.send(gateway.event(kinds.FALL))
            assert wait_for(lambda: site.query(tried) == [(1,)], 15)
            assert centre.seen == []
            taken.close()
            assert wait_for(lambda: kinds.OUTCOME_HANDED_OVER in outcomes(gateway), channel_module.REOPEN_S + 15)


def vital_sign(url, name):
    with contextlib.closing(open_database(url)) as database, database.read() as tx:
        return vital.last(tx, name)


def test_TP_SCA_011_TP_BND_210_faults_of_the_house_go_too_and_the_gateways_small_talk_does_not(site):  # noqa: F811
    assert handover.LOOK_BACK_MS == 24 * 3600 * 1000
    gateway, other = site.gateway(), site.gateway("garage-2")
    with site.reception(), site.connected(gateway), site.connected(other), arc() as centre:
        place(site.url, gateway.id, centre.udp)
        with delivering(site.url):
            other.send(other.event(kinds.MAINS, severity=2), leaf="event")  # in no home
            gateway.send(gateway.event(kinds.BOOT, severity=0), leaf="event")
            gateway.send(gateway.event(kinds.MAINS, severity=2), leaf="event")
            gateway.send(gateway.event(kinds.MAINS, severity=2, state=kinds.STATE_CLEARED, ref=1), leaf="event")
            assert [(s.request.mty, s.request.dty, s.request.stc) for s in centre.wait(2)] == [
                ("IN", 41, 85), ("RE", 41, 86)
            ]  # fmt: skip
        with delivering(site.url):
            time.sleep(0.6)
        assert len(centre.seen) == 2
        gateway.publish(gateway.key.seal(b"\x81\x01", "trygg/1/kitchen-7/alarm"))
        with delivering(site.url):
            assert centre.wait(3)[2].request.stt == "Uleselig alarm"


@pytest.fixture
def world(each_database_url):  # noqa: F811
    """At the present time: the bridge looks back from now."""
    made = World(each_database_url)
    made.now_ms = now_ms() - 30 * MINUTE
    yield made
    made.close()


def town_with(world, name, *targets):
    world.town(name)
    set_steps(world.centre, name, [Step("scaip", f"receiver {n}", target) for n, target in enumerate(targets)], "Ida")


def fault(world, seq, gateway="kitchen-7"):
    world.arrive(world.event(seq, kinds.MAINS, gateway, severity=2), alarm=False)
    world.later(MINUTE)


def test_TP_REC_001_TP_SCA_011_a_fault_goes_to_the_centre_of_the_home_it_is_of_and_no_later_one(world):
    store = SqlDeliveries(world.db)
    with arc() as asker, arc() as baerum, channel(store) as (ours, _):
        town_with(world, "Asker", asker.udp)
        town_with(world, "Bærum", baerum.udp)
        fault(world, 0)  # in no home yet
        world.install("Asker", "A-1", "kitchen-7", cid="1")
        fault(world, 1)
        installations.replace(world.centre, "kitchen-7", "kitchen-8", "Ida", world.now_ms)
        world.install("Bærum", "B-1", "kitchen-7", cid="2")
        fault(world, 2)
        installations.replace(world.centre, "kitchen-7", "kitchen-9", "Ida", world.now_ms)
        world.install("Bærum", "B-2", "kitchen-7", cid="3")
        fault(world, 3)
        Bridge(world.db, ours).poll()
        assert wait_for(lambda: not store.open())
        assert [(s.request.cid, s.request.dty) for s in baerum.seen] == [("3", 41)]
        assert asker.seen == []


def mistype(world, name):
    """As a list that was written before addresses were checked."""
    with world.db.write() as tx:
        owner = tenants.municipality_id(tx, name)
        tx.execute(update(schema.steps).where(schema.steps.c.municipality_id == owner).values(target="alarm@arc"))


def test_TP_SCA_014_TP_SCA_011_a_mistyped_address_silences_no_other_municipality_and_is_said_once(world):
    said = []
    with arc() as centre, channel(SqlDeliveries(world.db)) as (ours, _):
        town_with(world, "Asker", centre.udp)
        town_with(world, "Bærum", centre.udp)
        mistype(world, "Asker")
        world.install("Asker", "A-1", "attic-1", cid="1")
        world.install("Bærum", "B-1", "kitchen-7", cid="2")
        fault(world, 0, "attic-1")
        fault(world, 0)
        world.now_ms = now_ms()
        world.say("attic-1")
        world.say("kitchen-7")
        bridge = Bridge(world.db, ours, say=said.append)
        for _ in range(3):
            bridge.poll()
        assert {(s.request.cid, s.request.mty) for s in centre.wait(2)} == {("2", "IN"), ("2", "PI")}
        (sentence,) = said
        assert sentence.startswith("'alarm@arc' is not a SIP address.")
        set_steps(world.centre, "Asker", [Step("scaip", "receiver 0", centre.udp)], "Ida")
        bridge.poll()
        assert {(s.request.cid, s.request.mty) for s in centre.wait(4)[2:]} == {("1", "IN"), ("1", "PI")}


def test_TP_REC_009_TP_BND_063_homes_beat_only_while_the_receptions_own_alarm_comes_through(world):
    assert findings.DEFAULTS.canary_ms == 180_000

    def came_through(ago_ms):
        with world.db.write() as tx:
            vital.note(tx, vital.CANARY, now_ms() - ago_ms)

    with arc() as centre, channel(SqlDeliveries(world.db)) as (ours, _):
        town_with(world, "Asker", centre.udp)
        world.install("Asker", "A-1", "kitchen-7", cid="1")
        fault(world, 0)
        world.now_ms = now_ms()
        world.say("kitchen-7")
        bridge = Bridge(world.db, ours, has_canary=True, heartbeat_s=0)
        bridge.poll()  # none has come through yet
        assert [s.request.mty for s in centre.wait(1)] == ["IN"]
        came_through(179_000)
        bridge.poll()
        assert centre.wait(2)[1].request.mty == "PI"
        came_through(180_000)
        bridge.poll()
        Bridge(world.db, ours).poll()  # one that has no canary
        assert [s.request.mty for s in centre.wait(3)] == ["IN", "PI", "PI"]
        time.sleep(0.3)
        assert len(centre.seen) == 3


def test_TP_SCA_014_a_home_has_one_heartbeat_under_way_while_its_centre_is_silent(world):
    times = dataclasses.replace(FAST, reply_s=1.0)
    with arc("lost") as centre, channel(SqlDeliveries(world.db), times=times) as (ours, _):
        town_with(world, "Asker", centre.udp)
        world.install("Asker", "A-1", "kitchen-7", cid="1")
        world.now_ms = now_ms()
        world.say("kitchen-7")
        bridge = Bridge(world.db, ours, heartbeat_s=0)
        for _ in range(5):
            bridge.poll()
        assert len(centre.wait(1)) == 1
        time.sleep(0.5)
        bridge.poll()
        assert len(centre.seen) == 1
        time.sleep(0.7)
        bridge.poll()  # given up
        centre.wait(2)


class FaultyOnce(SqlDeliveries):
    """A store with a fault of ours in it, the first time."""

    faults = 1

    def add(self, delivery):
        self.faults -= 1
        if self.faults == 0:
            raise ValueError("ours")
        return super().add(delivery)


def test_TP_SCA_014_a_fault_of_ours_at_one_message_stops_no_other_and_ends_no_thread(world):
    said, stop = [], threading.Event()
    with arc() as centre, channel(FaultyOnce(world.db)) as (ours, _):
        town_with(world, "Asker", centre.udp)
        world.install("Asker", "A-1", "kitchen-7", cid="1")
        fault(world, 0)
        fault(world, 1)
        bridge = Bridge(world.db, ours, say=said.append)
        thread = threading.Thread(target=bridge.run, args=(stop,))
        thread.start()
        centre.wait(2)
        stop.set()
        thread.join()
        assert said == ["fault in this program: ValueError('ours')"]


def test_TP_REC_006_the_addresses_of_a_step_can_be_checked_when_they_are_typed():
    check_target("sips:alarm@one.example sip:alarm@10.0.0.5:5060;transport=tcp")
    for target in ("", "alarm@one.example", "sips:alarm@one.example, sips:alarm@two.example"):
        with pytest.raises(TryggError):
            check_target(target)


def test_TP_SCA_014_TP_BND_209_a_home_that_is_alive_beats_at_the_centre_and_a_silent_one_does_not(site):  # noqa: F811
    assert handover.HEARTBEAT_S == 300.0
    gateway = site.gateway()
    with site.reception(), site.connected(gateway), arc() as centre:
        place(site.url, gateway.id, centre.udp)
        with delivering(site.url, heartbeat_s=0.4):
            time.sleep(0.5)
            assert centre.seen == []
            gateway.birth()
            seen = centre.wait(3)
            assert {(s.request.mty, s.request.cid, s.request.stc) for s in seen} == {("PI", CID, 102)}
            gateway.connects += 1
            gateway.birth(path=1)
            assert wait_for(lambda: centre.seen[-1].request.stc == 103)
            moved = len(centre.seen)
            assert {s.request.stc for s in centre.wait(moved + 2)[moved:]} == {103}  # the path at rest has none
            gateway.birth(path=1, online=False)  # the will
            time.sleep(0.7)
            count = len(centre.seen)
            time.sleep(0.9)
            assert len(centre.seen) == count


def test_TP_SCA_012_a_delivery_is_kept_as_it_was_given(each_database_url):  # noqa: F811
    with contextlib.closing(open_database(each_database_url)) as database:
        store = SqlDeliveries(database)
        with channel(store) as (ours, _):
            ours.deliver(fall("a"), ["sip:x@127.0.0.1:9"])
        kept = store.get("a")
        assert (kept.xml, kept.receivers, kept.state) == (fall("a").to_xml(), ("sip:x@127.0.0.1:9",), "waiting")
        assert store.open() == [kept]
        assert store.get("b") is None
        with arc() as centre, channel(store) as (ours, _):
            ours.deliver(fall("a"), [centre.udp])
            assert ours.wait("a", 10).receiver == centre.udp
        assert (store.open(), store.get("a").state) == ([], "delivered")
        with pytest.raises(TryggError), channel(store) as (ours, _):
            ours.deliver(fall("c"), ["nonsense"])


def test_TP_SCA_012_the_home_shows_that_the_alarm_centre_has_it(tmp_path):
    """The whole way: button, MicroPython, TLS, broker, reception, escalation, SIP, reply, outcome, receipt, lamp."""
    unable = behaviour("503")  # always: the home's heartbeat, which comes just then, may be the first message
    with Chain(tmp_path, broker="mosquitto") as chain, arc(always=unable) as primary, arc() as secondary:
        place(chain.database_url, chain.gateway, f"{primary.udp} {secondary.tcp}")
        with delivering(chain.database_url):
            chain.board.press("help")
            assert wait_for(lambda: any(s.request.mty == "ME" for s in secondary.seen), 30)
            assert chain.wait_light("handed_over")
            alarm = next(s for s in secondary.seen if s.request.mty == "ME")
            assert (alarm.request.dty, alarm.request.stc, alarm.from_user) == (4, 10, CID)
            assert alarm.request.ite.startswith("help raised")
            assert [s.request.ref for s in primary.seen if s.request.mty == "ME"] == [alarm.request.ref]
