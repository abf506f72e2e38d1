"""The channel against simulated centres that misbehave in every way they know, over real sockets."""

import contextlib
import dataclasses
import itertools
import socket
import ssl
import time

import pytest
from scaip_site import CID, FAST, arc, channel, fall, make_tls, wait_for
from tryggport.errors import TryggError
from tryggport.scaip import agent, courier, sip
from tryggport.scaip import channel as channel_module
from tryggport.scaip.behaviour import NAMED
from tryggport.scaip.codes import Home
from tryggport.scaip.deliveries import MemoryDeliveries
from tryggport.scaip.digest import Credentials
from tryggport.scaip.message import MEDIA_TYPE, parse
from tryggport.scaip.quirks import QUIRKS, quirky

CONFIRMS = ["ok", "202", "inside", "both", "duplicate", "padded", "scaip-root", "latin-1", "late=0.2"]
SILENT = ["lost", "no-reply", "wrong-ref", "wrong-ref-inside", "broken", "401", "503", "302", "486", "404"]
ELSEWHERE = ["busy", "snu=4", "snu=5", "snu=6", "inside-snu=6", "snu=99", "snu=12345"]
PERMANENT = ["snu=1", "snu=2", "snu=3", "snu=7", "inside-snu=2"]


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return make_tls(tmp_path_factory.mktemp("tls"))


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


@pytest.mark.parametrize("algorithms", [("SHA-256", "MD5"), ("MD5",)])
@pytest.mark.parametrize("over", ["udp", "tcp"])
def test_TP_SCA_009_a_centre_that_asks_gets_the_credentials(algorithms, over):
    who = Credentials("bridge", "correct horse")
    with arc(credentials=who, algorithms=algorithms) as centre:
        receiver = getattr(centre, over)
        with channel(credentials={"127.0.0.1": who}) as (ours, _):
            assert ours.wait(ours.deliver(fall(), [receiver]), 5).attempts == 1
            assert (centre.centre.challenged, len(centre.seen)) == (1, 1)
        for credentials in ({}, {"127.0.0.1": Credentials("bridge", "wrong")}):
            with channel(credentials=credentials) as (ours, _):
                ref = ours.deliver(fall("other"), [receiver])
                assert wait_for(lambda: ours.outcome(ref).attempts)  # noqa: B023
                assert ours.outcome(ref).why == "answers 401 Unauthorized"
        assert len(centre.seen) == 1


def test_TP_SCA_008_over_tls_the_receiver_is_verified_and_its_reply_must_come_over_tls(tls):
    with arc(tls=tls) as centre:
        with channel(client_tls=tls.client) as (ours, _):
            assert ours.wait(ours.deliver(fall(), [centre.tls]), 5).state == "delivered"
            assert centre.seen[0].transport == "TLS"
            by_address = centre.tls.replace("localhost", "127.0.0.1")
            ref = ours.deliver(fall("b"), [by_address])  # the certificate is for another name
            assert wait_for(lambda: ours.outcome(ref).attempts)
            assert "is not trusted" in ours.outcome(ref).why
        with channel(client_tls=ssl.create_default_context()) as (ours, _):
            ref = ours.deliver(fall("c"), [centre.tls])
            assert wait_for(lambda: ours.outcome(ref).attempts)
            assert "is not trusted" in ours.outcome(ref).why
        assert centre.refs == [fall().ref]
    with arc("no-reply,no-reply,no-reply,no-reply", tls=tls) as centre, channel(client_tls=tls.client) as (ours, _):
        ref = ours.deliver(fall("d"), [centre.tls])
        centre.wait(1)
        forged = sip.request(
            "sip:x@127.0.0.1",
            "UDP 127.0.0.1:9",
            "sip:arc@127.0.0.1",
            b"<mrs><ref>d</ref><snu>0</snu></mrs>",
            MEDIA_TYPE,
        )
        answer = ask(forged, ours.agent.ports["UDP"])
        assert (answer.code, ours.outcome(ref).state) == (200, "waiting")
        time.sleep(0.2)
        assert ours.outcome(ref).state == "waiting"


def ask(request, port, sock=None):
    """The response to a request sent over UDP from a socket of our own."""
    with sock or socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(5)
        ours.sendto(request.to_bytes(), ("127.0.0.1", port))
        return sip.parse(ours.recv(65536))


def test_TP_SCA_016_over_udp_a_request_is_sent_again_until_it_is_answered():
    assert (agent.T1_S, agent.T2_S) == (0.5, 4.0)
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.settimeout(10)
    with peer, channel(times=dataclasses.replace(FAST, reply_s=9.0)) as (ours, _):
        ref = ours.deliver(fall(), [f"sip:arc@127.0.0.1:{peer.getsockname()[1]}"])
        data, source = peer.recvfrom(65536)
        times, first = [time.monotonic()], data
        for _ in range(2):
            data, source = peer.recvfrom(65536)
            assert data == first
            times.append(time.monotonic())
        waits = [b - a for a, b in itertools.pairwise(times)]
        assert all(wait >= due - 0.1 for wait, due in zip(waits, (0.5, 1.0), strict=True)), waits
        assert sum(waits) < 6
        body = f"<mrs><ref>{ref}</ref><snu>0</snu></mrs>".encode()
        peer.sendto(sip.respond(sip.parse(data), 200, body, MEDIA_TYPE).to_bytes(), source)
        assert ours.wait(ref, 5).state == "delivered"


def test_TP_SCA_016_a_request_that_comes_again_is_answered_again_and_handled_once():
    with arc("inside,lost") as centre:
        port = centre.centre.agent.ports["UDP"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            via = f"UDP 127.0.0.1:{sock.getsockname()[1] or 5060}"
            request = sip.request("sip:arc@x", via, f"sip:{CID}@x", fall().to_xml(), MEDIA_TYPE)
            answers = set()
            for _ in range(3):
                sock.sendto(request.to_bytes(), ("127.0.0.1", port))
                answers.add(sock.recv(65536))
            assert len(answers) == 1
            options = dataclasses.replace(request, method="OPTIONS").with_header("cseq", "1 OPTIONS")
            sock.sendto(options.to_bytes(), ("127.0.0.1", port))
            assert sip.parse(sock.recv(65536)).code == 200
            invite = dataclasses.replace(request, method="INVITE").with_header("cseq", "1 INVITE")
            sock.sendto(invite.to_bytes(), ("127.0.0.1", port))
            assert sip.parse(sock.recv(65536)).code == 405
            for junk in (b"", b"\0" * 100, b"MESSAGE x", b"SIP/2.0 200 OK\r\n\r\n", request.to_bytes()[:-1]):
                sock.sendto(junk, ("127.0.0.1", port))
        assert len(centre.seen) == 1
        assert agent.ANSWERS_KEPT == 4096  # TP-BND-203


@pytest.mark.parametrize("name", QUIRKS)
def test_TP_SCA_003_the_centre_takes_what_real_devices_send(name):
    with arc(always=NAMED["inside"][0]) as centre:
        media_type, body = quirky(name, CID, "9f3c01aa")
        answer = ask(
            sip.request("sip:arc@x", "UDP 127.0.0.1:9", f"sip:{CID}@x", body, media_type),
            centre.centre.agent.ports["UDP"],
        )
        assert (answer.code, parse(answer.body).snu, parse(answer.body).ref) == (200, 0, "9f3c01aa")
        assert CID in centre.seen[0].told()


def test_the_centre_says_what_is_wrong_with_a_message():
    cases = {b"junk": 2, b"<mrq><ref>a</ref><cid>1</cid></mrq>": 7, b"<mrq><ref>a</ref><cid>9</cid><dty>1</dty></mrq>": 99,
             b"<mrs><ref>a</ref><snu>0</snu></mrs>": 99}  # fmt: skip
    with arc(always=NAMED["inside"][0]) as centre:
        for body, snu in cases.items():
            request = sip.request("sip:arc@x", "UDP 127.0.0.1:9", "sip:1@x", body, MEDIA_TYPE)
            assert parse(ask(request, centre.centre.agent.ports["UDP"]).body).snu == snu


def test_our_side_receives_no_alarms_and_survives_bad_replies():
    with arc("lost") as centre, channel() as (ours, _):
        ref = ours.deliver(fall(), [centre.udp])
        centre.wait(1)
        port = ours.agent.ports["UDP"]
        for body, code in ((fall().to_xml(), 403), (b"junk", 400), (b"<mrs><ref>zzz</ref><snu>0</snu></mrs>", 200)):
            assert ask(sip.request("sip:a@x", "UDP 127.0.0.1:9", "sip:1@x", body, MEDIA_TYPE), port).code == code
        assert ours.outcome(ref).state == "waiting"
        assert ours.wait(ref, 5).state == "delivered"


def test_what_cannot_be_sent_is_refused_when_it_is_handed_over():
    with channel() as (ours, _):
        for receivers in ([], ["http://x"], ["sip:a b@c"]):
            with pytest.raises(TryggError):
                ours.deliver(fall(), receivers)
        with pytest.raises(TryggError, match="cid cannot be"):
            ours.deliver(fall(cid="x"), ["sip:arc@x"])
        with pytest.raises(TryggError, match="handed over"):
            ours.outcome("nothing")


def test_a_port_that_is_taken_is_told_in_a_sentence():
    with arc() as centre:
        port = centre.centre.agent.ports["TCP"]
        with (
            pytest.raises(TryggError, match=f"TCP port {port} of 127.0.0.1 cannot be opened"),
            channel(listen=[agent.Listen("TCP", port=port)]),
        ):
            pass


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


def test_TP_SCA_006_a_single_attempt_tells_a_caller_with_a_list_of_its_own_what_came_of_it():
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


def test_TP_BND_204_more_connections_than_the_bound_are_closed_and_the_others_served():
    with arc() as centre, contextlib.ExitStack() as stack:
        port = centre.centre.agent.ports["TCP"]
        open_ones = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(agent.CONNECTIONS)
        ]
        assert wait_for(lambda: len(centre.centre.agent._accepted) == agent.CONNECTIONS == 256)
        with socket.create_connection(("127.0.0.1", port)) as one_more:
            one_more.settimeout(5)
            assert one_more.recv(1) == b""
        open_ones[0].settimeout(5)
        request = sip.request("sip:arc@x", "TCP 127.0.0.1:9", f"sip:{CID}@x", fall().to_xml(), MEDIA_TYPE)
        open_ones[0].sendall(request.to_bytes())
        assert open_ones[0].recv(100).startswith(b"SIP/2.0 200")
        open_ones.pop().close()
        assert wait_for(lambda: len(centre.centre.agent._accepted) == agent.CONNECTIONS - 1)


def test_TP_BND_211_a_connection_that_is_silent_for_long_is_closed():
    assert agent.IDLE_S == 900.0
    with arc(idle_s=0.3) as centre, socket.create_connection(("127.0.0.1", centre.centre.agent.ports["TCP"])) as idle:
        idle.settimeout(5)
        assert idle.recv(1) == b""
        with channel() as (ours, _):  # ours is opened anew
            assert ours.attempt(fall("a"), [centre.tcp]).delivered
            time.sleep(0.6)
            assert ours.attempt(fall("b"), [centre.tcp]).delivered
            assert len({seen.peer for seen in centre.seen}) == 2
