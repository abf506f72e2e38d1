"""From the gateway to the centre's own system and back to the home: reception, bridge and simulated centres."""

import contextlib
import subprocess
import threading
import time

import pytest
from reception_site import TRYGGPORT, site  # noqa: F401
from scaip_site import CID, FAST, arc, channel, fall, wait_for
from tryggport.errors import TryggError
from tryggport.reception import Bridge, SqlDeliveries, cases, handover, open_database, store
from tryggport.reception.schema import outbox
from tryggport.scaip.behaviour import behaviour
from tryggport.scaip.channel import Outcome, Times
from tryggport.scaip.codes import Home, meaning, reference
from tryggport.sim.chain import Chain
from tryggport.wire import kinds
from tryggport.wire.event import Event

HOME = Home(CID, "+4791234567")


@contextlib.contextmanager
def bridged(database_url, receivers, homes=None, times=FAST, heartbeat_s=300.0):
    """A bridge beside a reception: (database, what it said)."""
    said, stop = [], threading.Event()
    database = open_database(database_url)
    with channel(SqlDeliveries(database), times=times) as (ours, told):
        bridge = Bridge(
            database, ours, homes or {"kitchen-7": HOME}, receivers, heartbeat_s=heartbeat_s, say=said.append
        )
        thread = threading.Thread(target=bridge.run, args=(stop,))
        thread.start()
        try:
            yield database, told, said
        finally:
            stop.set()
            thread.join()
    database.close()


def history(database):
    return [row["what"] for case in cases.list_cases(database) for row in case["history"]]


def test_TP_SCA_012_a_busy_primary_leads_to_the_secondary_and_the_home_hears_handed_over(site):  # noqa: F811
    gateway = site.gateway()
    with arc("busy") as primary, arc() as secondary, site.reception(), site.connected(gateway):
        with bridged(site.url, [primary.udp, secondary.tcp]) as (database, told, _):
            event = gateway.event(kinds.HELP, location=21, sensor="pendant")
            gateway.send(event)
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
            handed = gateway.receipt()
            assert (handed.outcome, [r[:2] for r in handed.ranges]) == (kinds.OUTCOME_HANDED_OVER, [(0, 0)])
            ref = reference(gateway.id, gateway.epoch, 0)
            assert primary.refs == secondary.refs == [ref]
            sent = secondary.seen[0].request
            assert (sent.cid, sent.crd, sent.cha, sent.lco, sent.dte) == (CID, "tel:+4791234567", 1, 21, "pendant")
            assert meaning(sent).kind == kinds.HELP
            assert [o.state for o in told] == ["delivered"]
            assert history(database) == ["help", f"ME {ref} accepted by {secondary.tcp}"]

            gateway.send(gateway.event(kinds.HELP, state=kinds.STATE_CLEARED, ref=0))  # the cancel button
            assert wait_for(lambda: "RE" in [s.request.mty for s in primary.seen])
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
            cases.take(database, 1, "Kari")
            assert gateway.receipt().outcome == kinds.OUTCOME_TAKEN
            gateway.send(
                gateway.event(kinds.HELP)
            )  # joins the case that is taken: never back to "the alarm centre has it"
            assert wait_for(lambda: history(database)[-1].startswith("ME ") and "accepted" in history(database)[-1])
        assert wait_for(lambda: site.count("outbox") == 0)
        outcomes = [gateway.receipts.get().outcome for _ in range(gateway.receipts.qsize())]
        assert kinds.OUTCOME_HANDED_OVER not in outcomes


def test_TP_SCA_012_TP_SCA_004_what_was_on_its_way_goes_on_after_a_restart_with_the_same_reference(site):  # noqa: F811
    gateway = site.gateway()
    with arc(always=behaviour("lost")) as centre, site.reception(), site.connected(gateway):
        with bridged(site.url, [centre.udp]):
            gateway.send(gateway.event(kinds.FALL))
            centre.wait(1)
        before = len(centre.seen)
        centre.centre.always = behaviour("ok")
        with bridged(site.url, [centre.udp]) as (database, told, _):
            assert wait_for(lambda: told)
            assert len(centre.seen) == before + 1
            assert len(set(centre.refs)) == 1
            assert SqlDeliveries(database).of_case(1)[0].attempts >= 1
        with bridged(site.url, [centre.udp]) as (database, told, _):
            time.sleep(0.5)
            assert (told, len(centre.seen)) == ([], before + 1)


def test_TP_SCA_013_what_is_not_delivered_and_what_is_refused_stands_in_the_case(site):  # noqa: F811
    gateway = site.gateway()
    times = Times(reply_s=0.3, escalate_s=0.5, retry_s=(0.1, 0.2))
    script = "503,503,503,503,503,503,503,snu=3,snu=3"
    with site.reception(), site.connected(gateway), arc(script) as centre:  # noqa: SIM117
        with bridged(site.url, [centre.udp], times=times) as (database, told, _):
            gateway.send(gateway.event(kinds.FALL))
            assert wait_for(lambda: len(told) == 2)
            assert [o.state for o in told] == ["undelivered", "refused"]
            ref = told[0].ref
            assert history(database) == [
                "fall", f"ME {ref} not delivered for 0 s: answers 503 Service Unavailable",
                f"ME {ref} refused by every receiver: wrong data",
            ]  # fmt: skip
            assert site.count("outbox") == 0
            assert isinstance(told[1], Outcome)


def test_TP_SCA_011_TP_BND_210_faults_of_the_house_and_unreadable_alarms_go_too_and_the_gateways_small_talk_does_not(
    site,  # noqa: F811
):
    assert handover.LOOK_BACK_MS == 24 * 3600 * 1000
    gateway = site.gateway()
    with (
        site.reception(),
        site.connected(gateway),
        arc() as centre,
        bridged(site.url, [centre.udp], homes={"kitchen-7": HOME}) as (_, _, said),
    ):
        gateway.send(gateway.event(kinds.BOOT, severity=0), leaf="event")
        gateway.send(gateway.event(kinds.MAINS, severity=2), leaf="event")
        gateway.send(gateway.event(kinds.MAINS, severity=2, state=kinds.STATE_CLEARED, ref=1), leaf="event")
        assert [(s.request.mty, s.request.dty, s.request.stc) for s in centre.wait(2)] == [
            ("IN", 41, 85),
            ("RE", 41, 86),
        ]
        gateway.publish(gateway.key.seal(b"\x81\x01", "trygg/1/kitchen-7/alarm"))
        assert centre.wait(3)[2].request.stt == "Uleselig alarm"
        other = site.gateway("garage-2")
        with site.connected(other):
            other.send(other.event())
            assert wait_for(lambda: said)
        assert said == [
            "garage-2 has no cid, so nothing of it can be handed over. Add it with: tryggport scaip onboard"
        ]
        assert len(centre.seen) == 3


def test_TP_SCA_014_TP_BND_209_a_home_that_is_alive_beats_at_the_centre_and_a_silent_one_does_not(site):  # noqa: F811
    assert handover.HEARTBEAT_S == 300.0
    gateway = site.gateway()
    with site.reception(), site.connected(gateway), arc() as centre, bridged(site.url, [centre.udp], heartbeat_s=0.4):
        time.sleep(0.5)
        assert centre.seen == []
        gateway.birth()
        seen = centre.wait(3)
        assert {(s.request.mty, s.request.cid, s.request.stc) for s in seen} == {("PI", CID, 102)}
        gateway.connects += 1
        gateway.birth(path=1)
        assert wait_for(lambda: centre.seen[-1].request.stc == 103)
        gateway.birth(path=1, online=False)  # the will
        time.sleep(0.7)
        count = len(centre.seen)
        time.sleep(0.9)
        assert len(centre.seen) == count


def test_a_delivery_is_kept_as_it_was_given(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'r.db'}")
    kept_in = SqlDeliveries(database)
    with channel(kept_in) as (ours, _):
        ours.deliver(fall("a"), ["sip:x@127.0.0.1:9"])
    kept = kept_in.get("a")
    assert (kept.xml, kept.receivers, kept.state, kept.order) == (
        fall("a").to_xml(),
        ("sip:x@127.0.0.1:9",),
        "waiting",
        1,
    )
    assert kept_in.open() == [kept]
    assert kept_in.get("b") is None
    with pytest.raises(TryggError), channel(kept_in) as (ours, _):
        ours.deliver(fall("c"), ["nonsense"])
    database.close()


def test_TP_SCA_012_the_home_shows_that_the_alarm_centre_has_it(tmp_path):
    """The whole way: button, MicroPython, TLS, broker, reception, bridge, SIP, reply, outcome, receipt, lamp."""
    with Chain(tmp_path, broker="mosquitto") as chain, arc("503") as primary, arc() as secondary:
        homes = {chain.gateway: HOME}
        with bridged(chain.database_url, [primary.udp, secondary.tcp], homes=homes):
            chain.board.press("help")
            assert wait_for(lambda: any(s.request.mty == "ME" for s in secondary.seen), 30)
            assert chain.wait_light("handed_over")
            alarm = next(s for s in secondary.seen if s.request.mty == "ME")
            assert (alarm.request.dty, alarm.request.stc, alarm.from_user) == (4, 10, CID)
            assert alarm.request.ite.startswith("help raised")
            assert [s.request.ref for s in primary.seen if s.request.mty == "ME"] == [alarm.request.ref]


@pytest.mark.parametrize("behave", ["no-reply", "ok"])
def test_TP_SCA_012_kill_9_of_the_bridge_loses_nothing_and_doubles_nothing(tmp_path, behave):
    url = f"sqlite:///{tmp_path / 'reception.db'}"
    (tmp_path / "homes.csv").write_text(f"gateway,cid\nkitchen-7,{CID}\n")
    database = open_database(url)
    values = {"gateway": "kitchen-7", "epoch": bytes(8), "boot": 1, "uptime_ms": 0, "kind": kinds.HELP}
    events = [Event.from_bytes(Event(seq=seq, **values).to_bytes()) for seq in range(3)]
    store.commit(database, [store.Arrival("kitchen-7", True, event) for event in events], [], cases.now_ms())

    @contextlib.contextmanager
    def bridge(receiver):
        command = [TRYGGPORT, "scaip", "bridge", "--db", url, "--homes", str(tmp_path / "homes.csv"), "--to", receiver,
                   "--listen", "udp:127.0.0.1:0"]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()

    with arc(behave) as centre:
        with bridge(centre.udp):
            centre.wait(1)
        with bridge(centre.udp):
            assert wait_for(lambda: len(accepted(database)) == 3)
            time.sleep(0.3)
    refs = [reference("kitchen-7", bytes(8), seq) for seq in range(3)]
    assert accepted(database) == refs
    assert set(centre.refs) == set(refs)
    with database.read() as tx:
        assert [row.outcome for row in tx.execute(outbox.select())] == [kinds.OUTCOME_HANDED_OVER] * 3
    database.close()


def accepted(database):
    """References that the case's history says are with the centre, in its order."""
    return [what.split()[1] for what in history(database) if "accepted" in what]
