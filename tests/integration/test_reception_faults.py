"""What is broken on purpose: the reception's process, its database, its broker, certificates. Each test proves the fault first."""

import itertools
import json
import signal
import sqlite3
import threading
import time
from datetime import timedelta

import pytest
from reception_site import Site, site  # noqa: F401
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.pki import files
from tryggport.pki.authority import Names, issue_broker, load_issuer
from tryggport.reception import Reception
from tryggport.reception.link import RECEIVE_MAXIMUM
from tryggport.reception.service import MAX_BATCH
from tryggport.sim.broker import mosquitto
from tryggport.wire import kinds, topics

STORED, DUPLICATE = kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE


@pytest.mark.parametrize(
    ("step", "stored_before", "outcomes"),
    [
        ("received", 0, [STORED]),
        ("verified", 0, [STORED]),
        ("commit.begin", 0, [STORED]),
        ("commit.begun", 0, [STORED]),
        ("commit.inserted", 0, [STORED]),
        ("commit.end", 1, [DUPLICATE]),  # between commit and receipt
        ("receipt.begin", 1, [DUPLICATE]),
    ],
)
def test_TP_WIR_011_a_kill_before_the_receipt_loses_nothing_and_doubles_nothing(site, step, stored_before, outcomes):  # noqa: F811
    """The broker has no PUBACK, so it brings the message again: the gateway need not even repeat it."""
    gateway = site.gateway()
    event = gateway.event()
    with site.connected(gateway):
        with site.reception_killed_at(step) as process:
            assert process.first_line == "ready\n"
            gateway.send(event)
            assert process.wait(20) == -signal.SIGKILL
        assert site.count("events") == stored_before
        assert gateway.receipts.empty()
        with site.reception():
            found = [gateway.receipt().outcome]
            gateway.send(event)
            assert gateway.receipt().outcome == DUPLICATE
    assert found == outcomes
    assert site.query("SELECT encoded FROM events") == [(event.to_bytes(),)]
    assert site.count("cases") == 1


@pytest.mark.parametrize("step", ["receipt.end", "puback"])
def test_TP_WIR_014_a_kill_after_the_receipt_doubles_nothing(site, step):  # noqa: F811
    gateway = site.gateway()
    event = gateway.event()
    with site.connected(gateway):
        with site.reception_killed_at(step) as process:
            gateway.send(event)
            assert process.wait(20) == -signal.SIGKILL
        with site.reception():
            gateway.send(event)
            assert site.wait_for(lambda: gateway.receipts.qsize() > 0)
            outcomes = {gateway.receipt().outcome}
    assert outcomes <= {STORED, DUPLICATE}
    assert site.count("events") == site.count("cases") == 1


def test_alarms_of_the_hours_without_a_reception_are_waiting(site):  # noqa: F811
    gateway = site.gateway()
    events = [gateway.event(kinds.MAINS, severity=2) for _ in range(300)]
    with site.reception():
        pass  # its session is there, it is not
    with site.connected(gateway):
        for event in events:
            gateway.send(event, leaf=topics.EVENT)
        with site.reception():
            assert site.wait_for(lambda: site.count("events") == 300)
            settled = set()
            while len(settled) < 300:
                receipt = gateway.receipt()
                assert receipt.outcome == STORED
                settled |= {seq for r in receipt.ranges for seq in range(r.first, r.last + 1)}
    sizes = [detail["events"] for name, detail in site.steps if name == "commit.begin"]
    assert sum(sizes) == 300
    assert 1 < max(sizes) <= MAX_BATCH == 1000  # TP-BND-018


def test_a_reception_that_stalls_is_sent_no_more_than_it_asked_for(site):  # noqa: F811
    """TP-BND-019: the rest stays with the broker, which keeps it on disk, and nothing is lost when the reception ends."""
    gateway = site.gateway()
    stalled, go_on = threading.Event(), threading.Event()
    count = RECEIVE_MAXIMUM + 200

    taken = []

    def on_step(name, detail):
        if name == "received":
            taken.append(detail)
        elif name == "commit.begin" and not go_on.is_set():
            stalled.set()
            go_on.wait(60)

    reception = Reception(site.pki, site.url, site.host, site.port, on_step=on_step)
    with site.connected(gateway), reception:
        try:
            payloads = [gateway.seal(gateway.event(kinds.MAINS, severity=2), leaf=topics.EVENT) for _ in range(count)]
            for payload in payloads:
                gateway.post(payload, topics.EVENT)
            assert stalled.wait(10)
            waiting = reception._links._arrived
            assert site.wait_for(lambda: len(taken) + waiting.qsize() == RECEIVE_MAXIMUM)
            time.sleep(0.3)
            assert len(taken) + waiting.qsize() == RECEIVE_MAXIMUM
        finally:
            go_on.set()
        assert site.wait_for(lambda: site.count("events") == count, timeout_s=30)


def test_the_reception_comes_back_after_the_broker(tmp_path):
    site = Site(tmp_path)  # noqa: F811
    gateway = site.gateway()
    said = []
    with site.broker():
        reception = site.reception(say=said.append)
        reception.__enter__()
    assert site.wait_for(lambda: any("the broker is gone" in text for text in said))
    with site.broker():
        assert site.wait_for(lambda: "connected to the broker again" in said, timeout_s=30)
        with site.connected(gateway):
            gateway.send(gateway.event())
            assert gateway.receipt().outcome == STORED
        reception.__exit__(None, None, None)


def test_TP_REC_205_a_locked_database_ends_the_reception_and_the_alarm_waits_with_the_broker(site):  # noqa: F811
    gateway = site.gateway()
    with site.connected(gateway):
        with site.reception_process() as process:
            assert process.first_line == "reception: ready\n"
            lock = sqlite3.connect(site.database, isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            gateway.send(gateway.event())
            assert process.wait(30) == 1
            assert process.stderr.read() == (
                f"tryggport: The database {site.database} is locked by another program.\n"
                "  Close what else writes to it, then start again.\n"
            )
            lock.execute("ROLLBACK")
            lock.close()
        assert site.count("events") == 0
        assert gateway.receipts.empty()
        with site.reception():
            assert gateway.receipt().outcome == STORED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reception_that_went_deaf_says_so_and_ends(site):  # noqa: F811
    """The thread of the MQTT library dies on a packet; a service that hangs on in silence would be worse than none."""
    gateway = site.gateway()
    with site.connected(gateway):
        reception = site.reception()
        reception.__enter__()
        reception._links._links[0]._intake._taken = lambda *_: 1 / 0
        gateway.send(gateway.event())
        reception._thread.join(10)
        assert not reception._thread.is_alive()
        with pytest.raises(TryggError, match="The connection to the broker died"):
            reception.__exit__(None, None, None)
        with site.reception():
            assert gateway.receipt().outcome == STORED


def ends(site, *options):  # noqa: F811
    """Exit code and standard error of a reception that does not get far."""
    with site.reception_process(*options) as process:
        process.wait(30)
        return process.returncode, process.stderr.read()


def test_a_database_folder_that_is_missing(site):  # noqa: F811
    missing = site.folder / "none"
    assert ends(site, "--db", f"sqlite:///{missing}/r.db") == (
        1, f"tryggport: There is no folder {missing} for the database.\n  Make it, or name another with --db.\n"
    )  # fmt: skip
    assert ends(site, "--db", "r.db") == (
        2,
        "tryggport: 'r.db' is not a database URL.\n  Example: sqlite:///reception.db\n",
    )


def test_no_broker_and_no_address(tmp_path):
    site = Site(tmp_path)  # noqa: F811
    assert ends(site) == (
        1, f"tryggport: No broker answers at 127.0.0.1:{site.port}: Connection refused.\n"
        "  Start it, or name it with --broker.\n"
    )  # fmt: skip
    assert ends(site, "--broker", "nonsense") == (
        2, "tryggport: 'nonsense' is not HOST:PORT.\n  Example: --broker localhost:8883\n"
    )  # fmt: skip


def test_a_folder_that_is_no_PKI(site):  # noqa: F811
    empty = site.folder / "empty"
    empty.mkdir()
    code, text = ends(site, "--pki", str(empty))
    assert code == 1
    assert text == (
        f"tryggport: {empty / 'device-ca.pem'} does not exist.\n  Make the keys first: tryggport pki init --dir DIR\n"
    )


def test_a_broker_whose_certificate_expired(tmp_path):
    site = Site(tmp_path)  # noqa: F811
    for name in ("broker.pem", "broker.key"):
        (site.pki / name).unlink()
    names = Names("tryggport broker", ("localhost", "127.0.0.1"))
    issue_broker(site.pki, load_issuer(site.pki, files.ROOT, None), names, life=-timedelta(seconds=5))
    with site.broker():
        assert ends(site) == (
            1, f"tryggport: The certificate of the broker at 127.0.0.1:{site.port} has expired.\n"
            "  Renew it with the root key, and start the broker again.\n"
        )  # fmt: skip


def test_a_broker_of_another_PKI_and_one_of_another_name(site):  # noqa: F811
    pki.init(site.folder / "foreign")
    code, text = ends(site, "--pki", str(site.folder / "foreign"))
    assert code == 1
    assert text.startswith(f"tryggport: The certificate of the broker at 127.0.0.1:{site.port} is not of this PKI (")
    assert text.endswith("  Is --pki the folder the broker was set up with?\n")
    code, text = ends(site, "--broker", f"127.0.0.2:{site.port}")
    assert code == 1  # Mosquitto listens on 127.0.0.1 alone
    assert "No broker answers" in text


def test_a_certificate_for_another_name(tmp_path):
    site = Site(tmp_path)  # noqa: F811
    for name in ("broker.pem", "broker.key"):
        (site.pki / name).unlink()
    issue_broker(site.pki, load_issuer(site.pki, files.ROOT, None), Names("broker", ("mqtt.example.org",)))
    with site.broker():
        assert ends(site) == (
            1, f"tryggport: The certificate of the broker at 127.0.0.1:{site.port} is not for the name 127.0.0.1.\n"
            "  Use a name given to: tryggport pki init --broker-name\n"
        )  # fmt: skip


def test_a_broker_that_does_not_trust_this_reception(site):  # noqa: F811
    """The certificate of a stranger, whose root the broker does not know."""
    foreign = site.folder / "foreign"
    pki.init(foreign)
    (foreign / "root.pem").write_bytes((site.pki / "root.pem").read_bytes())
    code, text = ends(site, "--pki", str(foreign))
    assert code == 1
    assert text.startswith((
        f"tryggport: The broker at 127.0.0.1:{site.port} does not let the reception in: it closes the connection.\n",
        f"tryggport: TLS with the broker at 127.0.0.1:{site.port} fails: ",
    ))  # fmt: skip


def test_a_port_that_is_taken(site):  # noqa: F811
    with pytest.raises(TryggError) as e, mosquitto(site.folder / "second", site.pki, site.port):
        pass
    assert e.value.message == f"Port {site.port} on 127.0.0.1 is in use."
    assert e.value.hint == "Stop what listens there, or name another port."


def test_stopping_is_clean_and_traces_are_json(site):  # noqa: F811
    gateway = site.gateway()
    with site.reception_process("--trace") as process:
        assert json.loads(process.first_line)["step"] == "lead"  # alone, so from the beginning
        assert process.stdout.readline() == "reception: ready\n"
        with site.connected(gateway):
            gateway.birth()
            gateway.send(gateway.event(data={kinds.DATA_TASK: b"\x01"}))
            gateway.receipt()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        lines = [json.loads(line) for line in process.stdout.read().splitlines()]
        assert process.stderr.read() == ""
    steps = [line["step"] for line in lines]
    assert {
        "received",
        "verified",
        "commit.begin",
        "commit.begun",
        "commit.inserted",
        "commit.end",
        "receipt.begin",
        "receipt.end",
        "puback",
        "online",
        "lead.end",
    } == set(steps)
    assert all(a["t_ms"] <= b["t_ms"] for a, b in itertools.pairwise(lines))
    topic = f"trygg/1/{gateway.id}/alarm"  # the reception's own test alarm is another one
    (verified,) = (line for line in lines if line["step"] == "verified" and line["topic"] == topic)
    assert verified["items"][0]["seq"] == 0
    assert verified["items"][0]["data"] == {str(kinds.DATA_TASK): "01"}
