"""The channel against simulated centres that misbehave in every way they know, over real sockets."""

import dataclasses
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from scaip_site import CID, FAST, arc, channel, fall, wait_for
from tryggport.errors import TryggError
from tryggport.scaip import channel as channel_module
from tryggport.scaip import courier, sip
from tryggport.scaip.agent import Listen
from tryggport.scaip.behaviour import NAMED, behaviour
from tryggport.scaip.codes import Home
from tryggport.scaip.deliveries import MemoryDeliveries
from tryggport.scaip.message import MEDIA_TYPE, parse

CONFIRMS = ["ok", "202", "inside", "both", "duplicate", "padded", "scaip-root", "latin-1", "late=0.2"]
SILENT = ["lost", "no-reply", "wrong-ref", "wrong-ref-inside", "broken", "401", "503", "302", "486", "404"]
ELSEWHERE = ["busy", "snu=4", "snu=5", "snu=6", "inside-snu=6", "snu=99", "snu=12345"]
PERMANENT = ["snu=1", "snu=2", "snu=3", "snu=7", "inside-snu=2"]


def test_every_named_behaviour_is_in_these_tests():
    assert set(NAMED) <= {*CONFIRMS, *SILENT, *ELSEWHERE}


@pytest.mark.parametrize("behave", CONFIRMS)
def test_TP_SCA_005_a_reply_with_status_0_and_the_right_reference_delivers(behave):
    with arc(behave) as centre, channel() as (ours, told):
        ref = ours.deliver(fall(), [centre.udp])
        outcome = ours.wait(ref, 5)
        assert (outcome.state, outcome.snu, outcome.receiver, outcome.attempts) == ("delivered", 0, centre.udp, 1)
        assert [(o.ref, o.state) for o in told] == [(ref, "delivered")]
        time.sleep(0.05)
        assert [seen.copy for seen in centre.seen] == [0]


@pytest.mark.parametrize("behave", SILENT + ELSEWHERE)
def test_TP_SCA_004_TP_SCA_005_TP_SCA_006_anything_else_is_not_delivered_and_goes_to_the_next_receiver(behave):
    with arc(behave) as first, arc() as second, channel() as (ours, _):
        ref = ours.deliver(fall(), [first.udp, second.tcp])
        outcome = ours.wait(ref, 5)
        assert (outcome.state, outcome.receiver, outcome.attempts) == ("delivered", second.tcp, 2)
        assert first.refs == second.refs == [ref]


def test_TP_SCA_006_TP_SCA_004_a_busy_centre_gets_the_same_message_again():
    with arc("busy,snu=4,503,ok") as centre, channel() as (ours, _):
        ref = ours.deliver(fall(), [centre.udp])
        assert ours.wait(ref, 8).attempts == 4
        assert [seen.raw for seen in centre.seen] == [fall().to_xml()] * 4


@pytest.mark.parametrize("behave", PERMANENT)
def test_TP_SCA_006_a_message_that_is_rejected_goes_once_more_with_the_mandatory_tags(behave):
    with arc(behave) as centre, channel() as (ours, _):
        ref = ours.deliver(fall(), [centre.udp])
        assert ours.wait(ref, 5).state == "delivered"
        assert [parse(seen.raw) for seen in centre.seen] == [fall(), fall().reduced()]


@pytest.mark.parametrize("behave", PERMANENT)
def test_TP_SCA_006_what_is_rejected_twice_is_refused_and_never_loops(behave):
    with arc(f"{behave},{behave}") as first, arc(behave) as second, channel() as (ours, told):
        ref = ours.deliver(fall(), [first.udp, second.udp])
        outcome = ours.wait(ref, 5)
        assert (outcome.state, outcome.snu) == ("refused", int(behave[-1]))
        time.sleep(0.5)
        assert (len(first.seen), len(second.seen)) == (2, 1)
        assert [o.state for o in told] == ["refused"]
        ours.deliver(fall(), [first.udp, second.udp, third := second.tcp])  # a new receiver is a new chance
        assert wait_for(lambda: ours.outcome(ref).state == "delivered")
        assert ours.outcome(ref).receiver == third


def test_TP_SCA_013_TP_BND_206_what_nobody_confirms_is_told_once_and_tried_on():
    assert (channel_module.ESCALATE_S, courier.REPLY_S) == (60.0, 10.0)
    with (
        arc("lost,lost,lost,lost") as centre,
        channel(times=dataclasses.replace(FAST, reply_s=0.2, escalate_s=0.3)) as (ours, told),
    ):
        ref = ours.deliver(fall(), [centre.udp])
        assert ours.wait(ref, 5).state == "undelivered"
        assert wait_for(lambda: ours.outcome(ref).state == "delivered")
        assert [o.state for o in told] == ["undelivered", "delivered"]
        assert len(centre.seen) == 5


def test_TP_SCA_013_TP_BND_205_a_reply_that_comes_too_late_still_delivers():
    with arc("late=0.9") as first, arc("lost,lost,lost") as second, channel() as (ours, _):
        ref = ours.deliver(fall(), [first.udp, second.udp])
        started = time.monotonic()
        outcome = ours.wait(ref, 5)
        assert outcome.state == "delivered"
        assert 0.6 < time.monotonic() - started < 1.15  # after the attempt was over, before its next one
        assert len(first.seen) == 1


def test_TP_BND_213_a_patient_channel_sends_nothing_until_its_port_is_free_and_then_what_waits():
    assert channel_module.REOPEN_S == 10.0
    said = []
    with arc() as centre, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        listen = [Listen("UDP", port=taken.getsockname()[1])]
        with pytest.raises(TryggError, match="cannot be opened"), channel(listen=listen):
            pass
        times = dataclasses.replace(FAST, reopen_s=0.1)
        with channel(listen=listen, times=times, patient=True, say=said.append) as (ours, _):
            with pytest.raises(TryggError, match="cannot be opened"):
                ours.attempt(fall("a"), [centre.udp])
            with pytest.raises(TryggError, match="cannot be opened"):
                ours.heartbeat(Home(CID), 0, [centre.udp])
            ref = ours.deliver(fall("b"), [centre.udp])
            time.sleep(0.3)
            assert (ours.outcome(ref).state, centre.seen, len(said)) == ("waiting", [], 1)
            taken.close()
            assert ours.wait(ref, 5).state == "delivered"
            assert ours.attempt(fall("a"), [centre.udp]).delivered
        assert said[1:] == ["SCAIP can be used now."]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with channel(listen=[Listen("UDP", port=taken.getsockname()[1])], patient=True):
            pass  # may be left before it was ever open


def test_a_message_that_is_handed_over_twice_is_delivered_once():
    with arc() as centre, channel() as (ours, told):
        for _ in range(3):
            ours.deliver(fall(), [centre.udp])
        assert ours.wait(fall().ref, 5).state == "delivered"
        ours.deliver(fall(), [centre.udp])
        time.sleep(0.3)
        assert (len(centre.seen), len(told)) == (1, 1)


def test_TP_SCA_015_the_user_in_from_is_the_cid():
    with arc() as centre, channel() as (ours, _):
        assert ours.wait(ours.deliver(fall(cid="0042"), [centre.udp]), 5).state == "delivered"
        assert [(seen.from_user, seen.request.cid) for seen in centre.seen] == [("0042", "0042")]


def test_TP_SCA_011_a_home_drains_in_order_alarms_first_and_a_reset_behind_its_alarm():
    store, refs = MemoryDeliveries(), [f"{n:04d}" for n in range(12)]
    kinds = {2: "RE", 5: "RE"}
    with arc("503", port=0) as centre:
        port = centre.centre.agent.ports["TCP"]
    with channel(store) as (ours, _):  # nobody is there
        for n, ref in enumerate(refs):
            alarm = n < 6
            request = fall(ref, mty=kinds.get(n, "ME") if alarm else "IN")
            ours.deliver(request, [f"sip:arc@127.0.0.1:{port};transport=tcp"], alarm=alarm)
        time.sleep(0.3)
    with arc("snu=6") as centre:
        # the receivers were named with the port that is gone: hand over again with the one that is there
        with channel(store) as (ours, _):
            for n, ref in enumerate(refs):
                request = fall(ref, mty=kinds.get(n, "ME") if n < 6 else "IN")
                ours.deliver(request, [centre.tcp], alarm=n < 6)
            assert wait_for(lambda: all(ours.outcome(ref).state == "delivered" for ref in refs), 15)
        accepted = [seen.request.ref for seen in centre.seen if seen.snu == 0]
        mty = [seen.request.mty for seen in centre.seen if seen.snu == 0]
    assert sorted(accepted) == refs
    assert accepted[6:] == refs[6:]
    assert mty[6:] == ["IN"] * 6
    assert accepted.index("0002") > max(accepted.index(r) for r in ("0000", "0001"))
    assert accepted.index("0005") > max(accepted.index(r) for r in ("0000", "0001", "0003", "0004"))


def test_TP_SCA_011_an_alarm_that_a_centre_chokes_on_does_not_hold_up_the_next():
    with arc("lost,lost,lost,lost,lost,lost") as centre, arc() as well, channel() as (ours, _):
        stuck = ours.deliver(fall("a"), [centre.udp])
        centre.wait(1)
        ours.deliver(fall("b"), [centre.udp])  # its first attempt comes although nobody answered the one before
        assert wait_for(lambda: "b" in centre.refs, 3)
        started = time.monotonic()
        assert (
            ours.wait(ours.deliver(fall("c", cid="99"), [well.udp]), 5).state == "delivered"
        )  # another home waits for nobody
        assert time.monotonic() - started < 0.5
        assert ours.outcome(stuck).state == "waiting"


def test_TP_SCA_014_a_heartbeat_goes_to_every_receiver_and_names_its_path():
    with arc() as first, arc("lost") as second, channel() as (ours, _):
        for path in (0, 1, 2):
            heard = ours.heartbeat(Home(CID), path, [first.udp, second.udp]).result(5)
            assert heard[first.udp].delivered
            assert heard[second.udp].delivered == (path > 0)
        assert [(s.request.mty, s.request.dty, s.request.stc) for s in first.seen] == [
            ("PI", 2, 102),
            ("PI", 2, 103),
            ("PI", 2, 103),
        ]


def test_TP_SCA_014_TP_BND_208_a_heartbeat_that_has_waited_too_long_is_dropped():
    count = channel_module.AT_ONCE
    times = dataclasses.replace(FAST, reply_s=0.6, heartbeat_s=0.3)
    with arc(",".join(["lost"] * count)) as centre, channel(times=times) as (ours, _):
        beats = [ours.heartbeat(Home(str(n)), 0, [centre.tcp]) for n in range(count + 3)]
        late = [beat.result(5)[centre.tcp] for beat in beats[count:]]
        assert [verdict.why for verdict in late] == ["is not asked, the heartbeat is too old"] * 3
        assert len(centre.seen) == count
        assert ours.heartbeat(Home("1"), 0, [centre.tcp]).result(5)[centre.tcp].delivered


def test_what_cannot_be_sent_is_refused_when_it_is_handed_over():
    with channel() as (ours, _):
        for receivers in ([], ["http://x"], ["sip:a b@c"]):
            with pytest.raises(TryggError):
                ours.deliver(fall(), receivers)
        with pytest.raises(TryggError, match="cid cannot be"):
            ours.deliver(fall(cid="x"), ["sip:arc@x"])
        with pytest.raises(TryggError, match="handed over"):
            ours.outcome("nothing")


def test_TP_BND_207_TP_BND_208_bounds_of_retries():
    assert channel_module.RETRY_S == (2.0, 60.0)
    assert channel_module.AT_ONCE == 64
    with arc("lost") as centre, channel() as (ours, _):
        refs = [ours.deliver(fall(f"r{n}", cid=str(n)), [centre.tcp]) for n in range(200)]
        assert wait_for(lambda: all(ours.outcome(ref).state == "delivered" for ref in refs), 20)
        assert len(centre.seen) == 201
        assert (
            len({seen.peer for seen in centre.seen}) <= 2
        )  # one connection is shared; the silent attempt closed its own


def late_of(ours, ref, *receivers):
    """What the next attempt says, once the late reply has had the time to come."""
    assert not ours.attempt(fall(ref), receivers).delivered
    time.sleep(0.6)
    return ours.attempt(fall(ref), receivers)


def test_TP_SCA_013_a_centre_that_confirms_an_attempt_too_late_has_the_alarm():
    with arc("late=0.9", always=behaviour("no-reply")) as slow, arc() as well, channel() as (ours, _):
        assert late_of(ours, "a", slow.udp) == channel_module.LATE
        assert ours.attempt(fall("a"), [slow.udp]).delivered  # should the caller not have stored it
        assert slow.refs == ["a"]
        assert ours.attempt(fall("a"), [well.udp]).delivered  # another step: it never had the alarm
        assert well.refs == ["a"]
        assert not ours.attempt(fall("b"), [slow.udp]).delivered


@pytest.mark.parametrize("behave", ["snu=6", "wrong-ref", "no-reply"])
def test_TP_SCA_013_TP_SCA_005_only_a_late_reply_with_status_0_and_the_reference_counts(behave):
    late = dataclasses.replace(behaviour(behave), delay_s=0.9)
    with arc(always=late) as centre, channel() as (ours, _):
        assert not late_of(ours, "a", centre.udp).delivered
        assert centre.refs == ["a", "a"]


def test_TP_SCA_013_a_late_reply_is_for_whoever_took_the_alarm_and_for_nobody_when_two_did():
    with (
        arc("late=0.9") as slow,
        arc(always=behaviour("no-reply")) as other,
        arc(always=behaviour("lost")) as dead,
        channel() as (ours, _),
    ):
        assert not ours.attempt(fall("a"), [dead.udp]).delivered
        assert late_of(ours, "a", slow.udp).delivered
        assert not ours.attempt(fall("a"), [dead.udp]).delivered
        slow.behave("late=0.9,no-reply")
        assert not ours.attempt(fall("b"), [other.udp]).delivered
        assert not late_of(ours, "b", slow.udp).delivered
        assert not ours.attempt(fall("b"), [other.udp]).delivered


def at_once(ours, ref, *receivers):
    """What came of one attempt at each of these steps, all under way at the same time."""
    with ThreadPoolExecutor(len(receivers)) as pool:
        return list(pool.map(lambda receiver: ours.attempt(fall(ref), [receiver]), receivers))


def elsewhere(ours, ref, snu=0):
    """A reply over a connection that no alarm went out on."""
    body = f"<mrs><ref>{ref}</ref><snu>{snu}</snu></mrs>".encode()
    request = sip.request("sip:x@127.0.0.1", "UDP 127.0.0.1:9", "sip:arc@127.0.0.1", body, MEDIA_TYPE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(request.to_bytes(), ("127.0.0.1", ours.agent.ports["UDP"]))
        assert sip.parse(sock.recv(65536)).code == 200


def after(seconds, act, *arguments):
    timer = threading.Timer(seconds, act, arguments)
    timer.start()
    return timer


@pytest.mark.parametrize("over", ["udp", "tcp"])
@pytest.mark.parametrize("other", ["lost", "no-reply"])
def test_TP_SCA_013_of_two_steps_at_once_only_the_one_on_whose_connection_the_reply_comes_has_the_alarm(over, other):
    with arc("late=0.3") as slow, arc(always=behaviour(other)) as dead, channel() as (ours, _):
        asked = getattr(slow, over), getattr(dead, over)
        assert [v.delivered for v in at_once(ours, "a", *asked)] == [True, False]
        assert slow.refs == dead.refs == ["a"]


def test_TP_SCA_013_a_late_reply_is_for_the_step_that_took_the_alarm_and_not_for_the_one_that_is_being_asked():
    with (
        arc("late=0.9", always=behaviour("no-reply")) as slow,
        arc(always=behaviour("lost")) as dead,
        channel() as (ours, _),
    ):
        assert not ours.attempt(fall("a"), [slow.udp]).delivered
        assert not ours.attempt(fall("a"), [dead.udp]).delivered
        assert ours.attempt(fall("a"), [slow.udp]) == channel_module.LATE
        assert slow.refs == ["a"]


def test_TP_SCA_013_a_late_reply_ends_the_attempt_at_the_next_receiver_of_its_own_step():
    with arc("late=0.9") as slow, arc(always=behaviour("lost")) as dead, channel() as (ours, _):
        started = time.monotonic()
        assert ours.attempt(fall("a"), [slow.udp, dead.udp]).delivered
        assert 0.6 < time.monotonic() - started < 1.15


def test_TP_SCA_013_a_reply_over_another_connection_is_for_the_step_that_took_the_alarm_once_no_other_can():
    with arc(always=behaviour("no-reply")) as first, arc(always=behaviour("lost")) as dead, channel() as (ours, _):
        after(0.2, elsewhere, ours, "a")
        assert ours.attempt(fall("a"), [first.udp]).delivered  # the only one that was asked
        sent = after(0.2, elsewhere, ours, "b")
        assert not any(v.delivered for v in at_once(ours, "b", first.udp, dead.udp))  # the other may have it too
        sent.join()
        assert ours.attempt(fall("b"), [first.udp]) == channel_module.LATE
        assert not ours.attempt(fall("b"), [dead.udp]).delivered


def test_TP_SCA_013_a_reply_over_another_connection_is_for_nobody_where_two_took_the_alarm():
    with (
        arc(always=behaviour("no-reply")) as first,
        arc(always=behaviour("no-reply")) as second,
        channel() as (ours, _),
    ):
        after(0.3, elsewhere, ours, "a")
        assert not any(v.delivered for v in at_once(ours, "a", first.udp, second.udp))
        assert not any(v.delivered for v in at_once(ours, "a", first.udp, second.udp))
        assert not ours.attempt(fall("b"), [first.udp]).delivered  # given up, and then the second is asked
        after(0.3, elsewhere, ours, "b")
        assert not ours.attempt(fall("b"), [second.udp]).delivered
        second.behave("ok")
        assert ours.attempt(fall("b"), [second.udp]).delivered  # harmless: the same reference


def test_TP_SCA_013_a_confirmation_that_comes_again_is_not_one_of_a_step_that_was_silent():
    with arc(always=behaviour("lost")) as dead, arc("duplicate,ok") as well, channel() as (ours, _):
        for ref in "ab":
            assert not ours.attempt(fall(ref), [dead.udp]).delivered
            assert ours.attempt(fall(ref), [well.udp]).delivered
            elsewhere(ours, ref)
            time.sleep(0.1)
            assert not ours.attempt(fall(ref), [dead.udp]).delivered


@pytest.mark.parametrize(("snu", "delivered"), [(0, True), (6, False)])
def test_TP_SCA_013_a_reply_over_another_connection_that_overtakes_the_200_is_held_until_it_comes(snu, delivered):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, channel(
        times=dataclasses.replace(FAST, reply_s=3.0)
    ) as (ours, _), ThreadPoolExecutor() as pool:  # fmt: skip
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        verdict = pool.submit(ours.attempt, fall("a"), [f"sip:arc@127.0.0.1:{peer.getsockname()[1]}"])
        data, source = peer.recvfrom(65536)
        elsewhere(ours, "a", snu)
        time.sleep(0.2)
        assert not verdict.done()
        peer.sendto(sip.respond(sip.parse(data), 200).to_bytes(), source)
        said = verdict.result(1)
        assert (said.delivered, said.snu) == (delivered, snu)


def test_TP_SCA_006_TP_BND_212_a_single_attempt_tells_a_caller_with_a_list_of_its_own_what_came_of_it():
    assert channel_module.ATTEMPT_S == 25.0
    with (
        arc("snu=7,ok,busy,busy,snu=1,snu=1") as first,
        arc("ok,busy,ok,snu=2,snu=2") as second,
        channel() as (ours, _),
    ):
        assert ours.attempt(fall("a"), [first.udp]).delivered
        assert parse(first.seen[1].raw) == fall("a").reduced()
        assert ours.attempt(fall("b"), [first.udp, second.udp]).delivered
        nobody = ours.attempt(fall("c"), [first.udp, second.udp])
        assert (nobody.next.value, nobody.snu) == ("elsewhere", 6)
        second.centre.script.popleft()
        assert ours.attempt(fall("d"), [first.udp, second.udp]).next.value == "refused"


def test_TP_SCA_011_TP_BND_207_what_moves_elsewhere_does_not_shorten_the_pause_of_a_busy_centre():
    with (
        arc(always=behaviour("busy")) as busy,
        arc() as well,
        channel(times=dataclasses.replace(FAST, retry_s=(0.3, 0.3))) as (ours, _),
    ):
        ours.deliver(fall("busy", cid="1"), [busy.udp])
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            ref = f"{time.monotonic_ns():x}"
            assert ours.wait(ours.deliver(fall(ref, cid="2"), [well.udp]), 5).state == "delivered"
        assert len(well.seen) > 10
        assert 2 <= len(busy.seen) <= 5


def test_TP_BND_208_a_centre_that_is_gone_holds_up_no_other():
    with (
        arc(always=behaviour("lost")) as gone,
        arc() as well,
        channel(times=dataclasses.replace(FAST, reply_s=3.0)) as (ours, _),
    ):
        for n in range(2 * channel_module.AT_ONCE):
            ours.deliver(fall(f"r{n}", cid=str(n)), [gone.tcp])
        assert len(gone.wait(channel_module.AT_ONCE)) == channel_module.AT_ONCE
        started = time.monotonic()
        assert ours.wait(ours.deliver(fall(), [well.tcp]), 5).state == "delivered"
        assert time.monotonic() - started < 1.5
        assert len(gone.seen) == channel_module.AT_ONCE
