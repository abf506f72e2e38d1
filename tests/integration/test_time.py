"""Time between the home and the centre: a clock that starts in 2000, time servers that lie, certificates that come and go.

The real firmware over TLS and a real Mosquitto; mbedTLS sees the board's clock through libfaketime. The PKI is a year old.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chains import stored, wait_quiet, wait_stored
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from time_server import TimeServer
from tryggport.board import clock
from tryggport.devices.link import Link
from tryggport.pki import authority, files
from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.chain import BROKER_NAME, Chain

TRYGGPORT = Path(sys.executable).with_name("tryggport")
DAY_S = 86_400
AGAIN_S = 15  # TP-BND-074
ASK_AGAIN_S = 17  # TP-BND-073, and one more
# A gateway whose firmware is as old as the shelf it lay on: the build date must not be newer than that.
OLD_MAIN = b"""
import gc
gc.threshold(4096)
import gateway
gateway.BUILT_MS = 0
from gateway import app
app.main()
"""


def at(days: int, *arguments: str | Path) -> None:
    """`tryggport`, so many days from now."""
    env = os.environ | {"LD_PRELOAD": str(clock.libfaketime()), "FAKETIME": f"{days:+d}d"}
    command = [TRYGGPORT, *map(str, arguments)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _ = process.communicate(timeout=120)
    clock.sweep(process.pid)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def servers() -> Iterator[list[TimeServer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(TimeServer()) for _ in range(3)]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory, servers: list[TimeServer]) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("chain")
    at(-365, "pki", "init", "--dir", folder / "pki")
    placement = {"time_servers": tuple(server.endpoint for server in servers), "heartbeat_s": 2}
    with Chain(folder, broker="mosquitto", clock="cold", placement=placement) as chain:
        with Link(chain.board.tty) as link:
            link.write("/main.py", OLD_MAIN)
        yield chain


class Life:
    """The gateway after a power-on: its clock at 2000-01-01, the broker and the reception stopped, the time servers as told."""

    def __init__(self, chain: Chain, servers: list[TimeServer], *says: str | float, months: bool = False) -> None:
        self.chain = chain
        wait_quiet(chain)
        chain.stop_reception()
        chain.stop_broker()
        chain.board.power_cut()
        if months:
            lay_in_a_cupboard(chain, servers)
        for server, word in zip(servers, says, strict=True):
            server.says, server.asked = word, 0
        self._seen = len(chain.board.console())
        self.began_ms = time.time() * 1000
        chain.board.power_on()
        self.wait_said("journal: boot")

    def said(self) -> str:
        """What the gateway has printed since."""
        return self.chain.board.console()[self._seen :]

    def wait_said(self, text: str, times: int = 1, timeout_s: float = 30) -> float:
        """Until the gateway has printed `text` so many times; returns when that was seen, by time.monotonic()."""
        self.chain.board.wait_for(lambda _: self.said().count(text) >= times, timeout_s=timeout_s)
        return time.monotonic()

    def open(self, pki: Path | None = None) -> int:
        """The broker and the reception are there from now on, and somebody presses the help button, which ends the wait between
        two attempts. Returns how many such alarms had been stored before."""
        before = len(stored(self.chain, "help"))
        self.chain.start_broker(pki)
        self.chain.start_reception()
        self.chain.board.press("help")
        self.wait_said("journal: help")
        return before

    def rtc_s(self) -> float:
        return float(str(self.chain.board.state()["rtc_s"]))


def quality(chain: Chain) -> str:
    """The quality in the status that the reception heard last."""
    with contextlib.closing(open_database(chain.database_url)) as database:
        (gateway,) = views.overview(centre(database))["gateways"]
    return str(gateway["quality"])


def wait_quality(chain: Chain, wanted: str, timeout_s: float = 20) -> str:
    deadline = time.monotonic() + timeout_s
    while (found := quality(chain)) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def newest(chain: Chain, kind: str) -> dict[str, Any]:
    """The event of a kind with the highest number; the backlog comes after what is fresh."""
    return max(stored(chain, kind), key=lambda row: int(row["seq"]))


def lay_in_a_cupboard(chain: Chain, servers: list[TimeServer]) -> None:
    """Nothing that this gateway knows of is newer than six months: a technician provisioned it then."""
    more = [word for server in servers for word in ("--time-server", f"{server.endpoint[0]}:{server.endpoint[1]}")]
    broker = f"{BROKER_NAME}:{chain.broker.port}"
    started = chain.board.console().count("journal: boot")
    chain.board.power_on()
    chain.board.wait_for(lambda board: board.console().count("journal: boot") > started)
    arguments = ["--port", chain.board.tty, "--broker", broker, "--pki", chain.pki_folder, *more]
    at(-183, "provision", chain.gateway, *arguments)
    chain.board.power_cut()


def renewed(chain: Chain, into: Path) -> Path:
    """A copy of the PKI whose broker certificate was renewed, as `tryggport pki renew` does it."""
    shutil.copytree(chain.pki_folder, into)
    at(0, "pki", "renew", "broker", "--dir", into)
    return into


def made_elsewhere(chain: Chain, into: Path) -> Path:
    """A copy whose broker certificate another tool has made under the same root, with dates as most tools set them."""
    shutil.copytree(chain.pki_folder, into)
    root = authority.load_issuer(into, files.ROOT, None)
    old = files.load_certificate(into / "broker.pem")
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.now(UTC) - timedelta(days=7))
    builder = builder.not_valid_after(datetime.now(UTC) + timedelta(days=365))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    files.write_over(into / "broker.pem", authority.pem(builder.sign(root.key, hashes.SHA256())))
    return into


def test_TP_WIR_040_TP_WIR_045_a_cold_clock_is_let_in_by_its_floor_and_a_receipt_tells_it_the_time(
    chain: Chain, servers: list[TimeServer]
) -> None:
    assert [server.asked for server in servers] == [0, 0, 0], "nobody needs to be asked"
    assert abs(float(str(chain.board.state()["rtc_s"])) - time.time()) < 5
    (clock,) = stored(chain, "clock")
    assert clock["quality"] == "synced" and clock["data"] == {}
    assert wait_quality(chain, "synced") == "synced"


def test_TP_WIR_042_TP_WIR_048_answers_that_prove_nothing_leave_the_clock_at_its_floor(
    chain: Chain, servers: list[TimeServer]
) -> None:
    life = Life(chain, servers, 915_148_800, "another originate", "garbage")
    life.wait_said("does not answer", 2)
    assert "time: localhost tells a time that cannot be" in life.said()
    assert abs(life.rtc_s() - time.time()) < 3600 + 60, "the floor of an hour ago at most"
    assert [server.asked for server in servers] == [1, 1, 1]
    assert quality(chain) == "synced", "nothing has been heard since"
    pressed = time.time() * 1000
    chain.board.press("help")
    life.wait_said("journal: help")
    chain.board.power_cut()
    chain.board.power_on()
    life.wait_said("journal: boot", 2)
    before = life.open()
    life.wait_said("mqtt: connected", timeout_s=70)
    assert wait_quality(chain, "never") == "never", "the birth was written before a receipt came"
    assert wait_quality(chain, "synced") == "synced"
    alarm, _ = sorted(wait_stored(chain, "help", before + 2), key=lambda row: int(row["seq"]))[-2:]
    happened = alarm["happened"]
    assert happened["how"] == "between", "that boot never knew the time"
    assert happened["earliest_ms"] < pressed + 1000 and pressed - 1000 < happened["latest_ms"] < pressed + 10_000


def test_TP_WIR_042_TP_WIR_043_TP_WIR_049_time_servers_in_2036_are_dropped_when_a_certificate_contradicts_them(
    chain: Chain, servers: list[TimeServer]
) -> None:
    """2036-02-08 is in the next era of NTP, and after the end of the broker's certificate."""
    far = datetime(2036, 2, 8, 12, tzinfo=UTC).timestamp()
    life = Life(chain, servers, far, far, "the time")
    life.wait_said("time: 2036-02-08 by localhost, not confirmed yet")
    assert abs(life.rtc_s() - far) < 60
    pressed = time.time() * 1000
    before = life.open()
    dropped = life.wait_said("time: dropped, the broker's certificate contradicts it", timeout_s=70)
    refused = "renew the broker's certificate (the gateway's clock shows 2036-02-08)"
    assert refused in life.said()
    connected = life.wait_said("mqtt: connected", timeout_s=AGAIN_S + 5)
    print(f"connected {connected - dropped:.1f} s after the time was dropped")
    assert connected - dropped < AGAIN_S
    alarms = wait_stored(chain, "help", before + 1)
    assert len(alarms) == before + 1
    assert alarms[0]["utc_ms"] > (far - 60) * 1000 and alarms[0]["quality"] == "holdover"
    chain.board.wait_for(lambda _: abs(life.rtc_s() - time.time()) < 5)
    chain.board.wait_for(lambda _: newest(chain, "help")["happened"]["how"] == "about")
    happened = newest(chain, "help")["happened"]
    assert happened["utc_refused"]
    assert abs(happened["latest_ms"] - pressed) < 5000


def test_TP_WIR_046_TP_WIR_047_a_renewed_certificate_lets_in_who_lay_in_a_cupboard_for_six_months(
    chain: Chain, servers: list[TimeServer], tmp_path: Path
) -> None:
    life = Life(chain, servers, "nothing", "nothing", "nothing", months=True)
    before = newest(chain, "clock")["seq"]
    life.open(renewed(chain, tmp_path / "renewed"))
    life.wait_said("mqtt: connected", timeout_s=70)
    assert "starts in the future" not in life.said()
    chain.board.wait_for(lambda _: newest(chain, "clock")["seq"] > newest(chain, "boot")["seq"] > before)
    assert abs(newest(chain, "clock")["utc_ms"] - time.time() * 1000) < 10_000
    happened = newest(chain, "boot")["happened"]
    assert happened["how"] == "about" and abs(happened["latest_ms"] - life.began_ms) < 10_000


@pytest.mark.long
def test_TP_WIR_042_TP_WIR_046_a_certificate_of_last_week_needs_a_time_server_and_says_so(
    chain: Chain, servers: list[TimeServer], tmp_path: Path
) -> None:
    life = Life(chain, servers, "kiss", "nothing", "stratum 16", months=True)
    asked = life.wait_said("time: localhost does not know the time itself")
    assert "time: localhost refuses (DENY): not asked again" in life.said()
    assert "time: localhost does not answer: let UDP port" in life.said()
    before = life.open(made_elsewhere(chain, tmp_path / "elsewhere"))
    life.wait_said("starts in the future: the gateway's clock is behind; let it reach a time server")
    shown = datetime.now(UTC) - timedelta(days=183)
    assert f"(the gateway's clock shows {shown:%Y-%m-%d})" in life.said()
    assert chain.wait_light("sending") and len(stored(chain, "help")) == before
    for server in servers:
        server.says = "the time"
    time.sleep(max(0.0, asked + ASK_AGAIN_S - time.monotonic()))
    chain.board.press("help")
    life.wait_said("not confirmed yet", timeout_s=AGAIN_S)
    life.wait_said("mqtt: connected", timeout_s=AGAIN_S)
    alarms = wait_stored(chain, "help", before + 2)
    assert len(alarms) == before + 2 and alarms[1]["quality"] == "never"
    wait_quiet(chain)
    chain.board.press("help")
    assert wait_stored(chain, "help", before + 3)[0]["quality"] == "synced", "a receipt has confirmed it"
    assert [server.asked for server in servers] == [1, 2, 2]


def test_TP_WIR_046_an_expired_certificate_keeps_the_alarm_until_it_is_renewed(
    chain: Chain, servers: list[TimeServer], tmp_path: Path
) -> None:
    life = Life(chain, servers, "the time", "the time", "the time")
    folder = tmp_path / "expired"
    shutil.copytree(chain.pki_folder, folder)
    authority.renew(folder, "broker", life=timedelta(hours=-6))
    chain.start_broker(folder)
    before = len(stored(chain, "help"))
    chain.board.press("help")
    life.wait_said("mqtt: The certificate validity has expired: renew the broker's certificate")
    assert chain.wait_light("sending")
    chain.stop_broker()
    at(0, "pki", "renew", "broker", "--dir", folder)
    life.open(folder)
    assert len(wait_stored(chain, "help", before + 2, timeout_s=70)) == before + 2
