"""The reception flat out and at 1,000 a second: Mosquitto over mutual TLS, `tryggport reception run` as deployed, SQLite and PostgreSQL.

Broker, reception, database and the load share this machine's cores. Every message is one signed alarm or event in an envelope of its
own; it counts when a receipt has come back whose signature verifies. Nothing before that is taken for success.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tryggport import pki
from tryggport.sim.broker import free_port, mosquitto
from tryggport.sim.gateway import Gateway
from tryggport.wire import kinds, topics

from tests.bench.load import Load, packets

GATEWAYS = 100
FLAT_OUT, AT_RATE = 20_000, 10_000
PER_S = 1000
OUTSTANDING = 3000
RUN = "import sys; from tryggport.cli import main; sys.argv[0] = 'tryggport'; main()"


def measure(count: int = FLAT_OUT, at_rate: int = AT_RATE) -> dict[str, Any]:
    """{events_per_s, p50_ms, p99_ms, verify_limit_per_s, ratio, ...}."""
    with tempfile.TemporaryDirectory() as name:
        return _on(Path(name), count, at_rate)


def _on(folder: Path, count: int, at_rate: int) -> dict[str, Any]:
    pki.init(folder / "pki")
    gateways = [Gateway(folder / "pki", f"bench-{n:04}") for n in range(GATEWAYS)]
    port = free_port()
    kind = {"kind": kinds.HELP, "severity": 3}
    flat = packets(gateways, count, topics.ALARM, **kind)
    steady = packets(gateways, at_rate, topics.ALARM, **kind)
    limit = verify_limit()
    with mosquitto(folder / "broker", folder / "pki", port), reception(folder, port):
        load = Load(gateways, "localhost", port)
        try:
            seconds = load.flat_out(flat, OUTSTANDING)
            latencies = sorted(load.at_rate(steady, PER_S))
        finally:
            load.close()
    per_s = count / seconds
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "events_per_s": round(per_s),
        "p50_ms": round(1000 * cuts[49], 1),
        "p99_ms": round(1000 * cuts[98], 1),
        "verify_limit_per_s": round(limit),
        "ratio": round(per_s / limit, 3),
        "gateways": GATEWAYS,
    }


@contextmanager
def reception(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """As an operator starts it, in a process of its own."""
    command = ["reception", "run", "--pki", str(folder / "pki"), "--db", f"sqlite:///{folder / 'reception.db'}"]
    command += ["--broker", f"localhost:{port}"]
    process = subprocess.Popen([sys.executable, "-c", RUN, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.wait(30)


def verify_limit(seconds: float = 1.0) -> float:
    """ES256 verifications a second of one core, by the OpenSSL that the reception uses, over a short message."""
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    signature, public = key.sign(bytes(128), algorithm), key.public_key()
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for _ in range(100):
            public.verify(signature, bytes(128), algorithm)
        count += 100
    return count / (time.monotonic() - began)
