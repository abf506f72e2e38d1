"""SIP on the wire: UDP, TCP and TLS, digest, repeated and hostile requests, the bounds of connections."""

import contextlib
import dataclasses
import itertools
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest
from scaip_site import CID, FAST, arc, channel, fall, make_tls, wait_for
from tryggport.errors import TryggError
from tryggport.scaip import agent, digest, sip
from tryggport.scaip.behaviour import NAMED, behaviour
from tryggport.scaip.digest import Credentials
from tryggport.scaip.locate import Locator
from tryggport.scaip.message import INVALID, MEDIA_TYPE, parse
from tryggport.scaip.quirks import QUIRKS, quirky

sys.path.append(str(Path(__file__).parents[1] / "host"))
from srv_server import name_server, resolver_at


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return make_tls(tmp_path_factory.mktemp("tls"))


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


def read_request(connection, data, stop):
    """The next request on a stream, None when it ends or `stop` is set."""
    while not (message := sip.split_stream(data)):
        with contextlib.suppress(TimeoutError):
            if not (more := connection.recv(65536)):
                return None
            data += more
        if stop.is_set():
            return None
    return sip.parse(message)


@contextlib.contextmanager
def closing_centre(who, answers):
    """A TCP port that asks for a login and closes each connection after so many answers, or at once for 0; and what it said."""
    log, stop = [], threading.Event()

    def serve(connection):
        connection.settimeout(0.1)
        data = bytearray()
        for _ in range(answers):
            if (request := read_request(connection, data, stop)) is None:
                return
            if digest.matches(request.get("authorization"), who, "MESSAGE", "r", "n"):
                reply = f"<mrs><ref>{parse(request.body).ref}</ref><snu>0</snu></mrs>".encode()
                answer = sip.respond(request, 200, reply, MEDIA_TYPE)
            else:
                answer = sip.respond(request, 401).with_header("www-authenticate", digest.challenge("r", "n", "MD5"))
            log.append(answer.code)
            connection.sendall(answer.to_bytes())

    def run():
        while not stop.is_set():
            with contextlib.suppress(TimeoutError), server.accept()[0] as connection:
                log.append("opened")
                serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"sip:arc@127.0.0.1:{server.getsockname()[1]};transport=tcp", log
        finally:
            stop.set()
            thread.join()


def test_TP_SCA_009_TP_SCA_008_a_centre_that_closes_the_connection_after_its_challenge_gets_the_alarm():
    who = Credentials("bridge", "correct horse")
    with (
        closing_centre(who, answers=1) as (receiver, log),
        channel(credentials={"127.0.0.1": who}, times=dataclasses.replace(FAST, reply_s=2.0)) as (ours, _),
    ):
        for ref in "abc":
            started = time.monotonic()
            assert ours.attempt(fall(ref), [receiver]).delivered
            assert time.monotonic() - started < 1.0
        assert [code for code in log if code != "opened"] == [401, 200] * 3


def test_TP_SCA_008_a_connection_that_was_used_and_is_closed_costs_no_attempt_and_a_fresh_one_is_not_tried_for_ever():
    who = Credentials("bridge", "correct horse")
    times = dataclasses.replace(FAST, reply_s=2.0)
    with channel(credentials={"127.0.0.1": who}, times=times) as (ours, _):
        with closing_centre(who, answers=3) as (receiver, log):  # gone while the second alarm waits for its answer
            assert ours.attempt(fall("a"), [receiver]).delivered
            assert ours.attempt(fall("b"), [receiver]).delivered
            assert log == ["opened", 401, 200, 401, "opened", 200]
        with closing_centre(who, answers=0) as (receiver, log):
            verdict = ours.attempt(fall("c"), [receiver])
            assert (verdict.delivered, log) == (False, ["opened"])
            assert "closed" in verdict.why


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


def test_TP_SCA_008_TP_SCA_013_a_late_reply_of_a_tls_receiver_must_come_over_tls_too(tls):
    with arc(tls=tls, always=behaviour("no-reply")) as centre, channel(client_tls=tls.client) as (ours, _):
        assert not ours.attempt(fall("a"), [centre.tls]).delivered
        body = b"<mrs><ref>a</ref><snu>0</snu></mrs>"
        forged = sip.request("sip:x@127.0.0.1", "UDP 127.0.0.1:9", "sip:arc@127.0.0.1", body, MEDIA_TYPE)
        assert ask(forged, ours.agent.ports["UDP"]).code == 200
        assert not ours.attempt(fall("a"), [centre.tls]).delivered
        centre.behave("late=0.9")
        assert not ours.attempt(fall("b"), [centre.tls]).delivered
        time.sleep(0.6)
        assert ours.attempt(fall("b"), [centre.tls]).delivered


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


def test_TP_SCA_007_what_cannot_be_read_is_counted_and_its_text_not_kept():
    with channel() as (ours, _), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(5)
        for n in range(20):
            body = f"<mrq><tag{n}>1</tag{n}><tag{n}>2</tag{n}></mrq>".encode()
            message = sip.request("sip:a@x", "UDP 127.0.0.1:9", "sip:1@x", body, MEDIA_TYPE)
            stranger.sendto(message.to_bytes(), ("127.0.0.1", ours.agent.ports["UDP"]))
            assert sip.parse(stranger.recv(65536)).code == 400
        assert ours.courier.unreadable == {INVALID: 20}


def test_a_port_that_is_taken_is_told_in_a_sentence():
    with arc() as centre:
        port = centre.centre.agent.ports["TCP"]
        with (
            pytest.raises(TryggError, match=f"TCP port {port} of 127.0.0.1 cannot be opened"),
            channel(listen=[agent.Listen("TCP", port=port)]),
        ):
            pass


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


def ask_without_reading(sock):
    for n in range(10_000):
        via = f"Via: SIP/2.0/TCP x;branch=z{n}{'y' * 3000}"
        asks = f"OPTIONS sip:a SIP/2.0\r\n{via}\r\nFrom: a\r\nTo: b\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\n\r\n"
        sock.sendall(asks.encode())


def test_TP_BND_214_a_peer_that_asks_and_never_reads_is_cut_off_and_no_other():
    assert agent.UNREAD == 262_144
    with (
        arc() as centre,
        channel() as (ours, _),
        socket.create_connection(("127.0.0.1", ours.agent.ports["TCP"])) as greedy,
    ):
        greedy.settimeout(5)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises(ConnectionError):
            ask_without_reading(greedy)
        assert ours.attempt(fall(), [centre.tcp]).delivered


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


def test_TP_SCA_010_an_alarm_goes_by_the_dns_past_the_dead_and_the_unavailable(tls):
    with arc("503") as busy, arc() as well, arc(tls=tls) as secure, socket.create_server(("127.0.0.1", 0)) as gone:
        dead = gone.getsockname()[1]
        gone.close()
        ports = [dead, *(centre.centre.agent.ports["TCP"] for centre in (busy, well))]
        records = {
            "_sip._tcp.arc.example": [f"{n} 0 {port} localhost." for n, port in enumerate(ports)],
            "_sips._tcp.localhost": [f"0 0 {dead} localhost.", f"1 0 {secure.centre.agent.ports['TLS']} localhost."],
        }
        with name_server(records) as port, channel(
            locator=Locator(lambda n: 0, resolver_at(port)), client_tls=tls.client
        ) as (ours, _):  # fmt: skip
            assert ours.attempt(fall("a"), ["sip:arc@arc.example"]).delivered
            assert ours.attempt(fall("b"), ["sips:arc@localhost"]).delivered
        assert (busy.refs, well.refs, secure.refs) == (["a"], ["a"], ["b"])
