"""SIPp, a SIP peer that is not ours, at both ends: as the centre that our channel delivers to, as the device that sends to ours."""

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from scaip_site import CID, FAST, arc, channel, fall, make_tls, wait_for
from tryggport.scaip.behaviour import NAMED
from tryggport.scaip.digest import Credentials
from tryggport.sim.broker import free_port

SCENARIOS = Path(__file__).parent / "scaip"
PATIENT = type(FAST)(reply_s=5.0, escalate_s=60.0, retry_s=(0.1, 0.4))
OVER = {"UDP": "u1", "TCP": "t1"}


@contextlib.contextmanager
def sipp(folder, scenario, port, over, *more, calls=1):
    """SIPp with a scenario; every call of it must have succeeded at the end."""
    command = ["sipp", *more, "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", "127.0.0.1", "-p", str(port), "-m", str(calls),
               "-t", OVER[over], "-timeout", "20s", "-timeout_error", "-nostdin", "-trace_err",
               "-error_file", str(folder / "errors.log")]  # fmt: skip
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
        output = process.communicate(timeout=25)[0].decode(errors="replace")
        errors = (folder / "errors.log").read_text() if (folder / "errors.log").exists() else ""
        assert process.returncode == 0, errors + output[-3000:]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def listening(port, over):
    kind = socket.SOCK_DGRAM if over == "UDP" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if over == "TCP":
            return probe.connect_ex(("127.0.0.1", port)) == 0
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@contextlib.contextmanager
def sipp_centre(folder, scenario, over, calls=1):
    """The address of a centre that SIPp plays."""
    port = free_port()
    with sipp(folder, scenario, port, over, calls=calls):
        assert wait_for(lambda: listening(port, over), 5)
        yield f"sip:arc@127.0.0.1:{port};transport={over.lower()}"


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("scenario", ["centre_apart", "centre_inside"])
def test_TP_SCA_008_TP_SCA_005_sipp_as_the_centre_confirms_our_alarm(tmp_path, scenario, over):
    with channel(times=PATIENT) as (ours, _), sipp_centre(tmp_path, scenario, over) as receiver:
        outcome = ours.wait(ours.deliver(fall(), [receiver]), 10)
        assert (outcome.state, outcome.snu, outcome.attempts) == ("delivered", 0, 1)


@pytest.mark.parametrize("over", OVER)
def test_TP_SCA_009_sipp_finds_our_digest_right(tmp_path, over):
    credentials = {"127.0.0.1": Credentials("bridge", "horse")}
    with (
        channel(times=PATIENT, credentials=credentials) as (ours, _),
        sipp_centre(tmp_path, "centre_digest", over) as receiver,
    ):
        assert ours.wait(ours.deliver(fall(), [receiver]), 10).state == "delivered"


def test_TP_SCA_009_sipp_finds_a_wrong_password_wrong(tmp_path):
    credentials = {"127.0.0.1": Credentials("bridge", "donkey")}
    with (
        channel(times=PATIENT, credentials=credentials) as (ours, _),
        sipp_centre(tmp_path, "centre_digest", "UDP") as receiver,
    ):
        ref = ours.deliver(fall(), [receiver])
        assert wait_for(lambda: ours.outcome(ref).attempts)
        assert ours.outcome(ref).why == "answers 403 Forbidden"


def test_TP_SCA_006_a_busy_primary_of_sipp_leads_to_the_secondary_of_sipp(tmp_path):
    folders = [tmp_path / name for name in ("primary", "secondary")]
    for folder in folders:
        folder.mkdir()
    with (
        channel(times=PATIENT) as (ours, _),
        sipp_centre(folders[0], "centre_busy", "UDP") as primary,
        sipp_centre(folders[1], "centre_apart", "TCP") as secondary,
    ):
        outcome = ours.wait(ours.deliver(fall(), [primary, secondary]), 10)
        assert (outcome.state, outcome.receiver, outcome.attempts) == ("delivered", secondary, 2)


@pytest.mark.parametrize("over", OVER)
def test_TP_SCA_008_sipp_as_a_device_is_confirmed_by_our_centre(tmp_path, over):
    with arc() as centre:
        port = centre.centre.agent.ports[over]
        reply = str(SCENARIOS / "device_reply.xml")
        with sipp(tmp_path, "device_apart", free_port(), over, f"127.0.0.1:{port}", "-oocsf", reply, calls=5):
            seen = centre.wait(5)
        assert [(s.request.cid, s.request.dty, s.request.stc, s.from_user, s.snu) for s in seen] == [
            (CID, 4, 10, CID, 0)
        ] * 5
        assert len(set(centre.refs)) == 5
        if over == "UDP":  # over TCP a device of SIPp has left by then
            assert wait_for(lambda: not centre.centre._tasks)
            assert centre.centre.unconfirmed == []


@pytest.mark.parametrize("over", OVER)
def test_TP_SCA_009_sipp_as_a_device_logs_in_and_finds_the_reply_in_the_200(tmp_path, over):
    with arc(always=NAMED["inside"][0], credentials=Credentials("device", "horse"), algorithms=("MD5",)) as centre:
        port = centre.centre.agent.ports[over]
        with sipp(tmp_path, "device_digest", free_port(), over, f"127.0.0.1:{port}", calls=3):
            centre.wait(3)
        assert centre.centre.challenged == 3
    with arc(always=NAMED["inside"][0]) as centre:
        port = centre.centre.agent.ports[over]
        with sipp(tmp_path, "device_inside", free_port(), over, f"127.0.0.1:{port}", calls=20):
            centre.wait(20)


@contextlib.contextmanager
def tls_in_front(port, tls):
    """A port that speaks TLS for a peer that cannot."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pump(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)

        def serve():
            with contextlib.suppress(OSError, ssl.SSLError):
                raw, _ = server.accept()
                with (
                    tls.server.wrap_socket(raw, server_side=True) as outside,
                    socket.create_connection(("127.0.0.1", port)) as inside,
                ):
                    there = threading.Thread(target=pump, args=(inside, outside), daemon=True)
                    there.start()
                    pump(outside, inside)
                    inside.shutdown(socket.SHUT_RDWR)
                    there.join(5)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


def test_TP_SCA_008_sipp_behind_tls_confirms_our_alarm(tmp_path):
    tls = make_tls(tmp_path)
    with (
        sipp_centre(tmp_path, "centre_apart", "TCP") as plain,
        tls_in_front(int(plain.split(":")[2].split(";")[0]), tls) as port,
        channel(times=PATIENT, client_tls=tls.client) as (ours, _),
    ):
        assert ours.wait(ours.deliver(fall(), [f"sips:arc@localhost:{port}"]), 10).state == "delivered"
