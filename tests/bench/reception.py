"""The reception flat out and at 1,000 a second: Mosquitto over mutual TLS, `tryggport reception run` as deployed, its timers included.

Every message is an envelope of its own with one signed alarm, which is the dearer class: it finds its case and its receivers too. It
counts when a receipt has come back whose signature verifies. Load, broker, reception and database share this machine's cores.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tryggport import pki
from tryggport.sim.broker import free_port, mosquitto
from tryggport.sim.gateway import Gateway
from tryggport.sim.processes import reception
from tryggport.wire import kinds, topics

from tests.bench.load import Load, prepared

GATEWAYS = 100
FLAT_OUT, AT_RATE = 20_000, 10_000
PER_S = 1000
OUTSTANDING = 3000
POSTGRES_SITE = Path(__file__).parents[1] / "host" / "postgres_site.py"


def measure(count: int = FLAT_OUT, at_rate: int = AT_RATE) -> dict[str, Any]:
    """{events_per_s, p50_ms, p99_ms, verify_limit_per_s, ratio, gateways, postgresql: the same again, or why not}."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = _on(folder, f"sqlite:///{folder / 'reception.db'}", count, at_rate)
    return found | {"postgresql": _on_postgresql(count, at_rate)}


def _on_postgresql(count: int, at_rate: int) -> dict[str, Any] | str:
    site = _postgres_site()
    if lacks := site.missing():
        return f"not measured: {lacks} is not installed"
    with tempfile.TemporaryDirectory(prefix="tryggport-pg-") as name:
        folder = Path(name)
        (folder / "site").mkdir()
        (folder / "cluster").mkdir()
        folder.chmod(0o755)
        with site.cluster(folder / "cluster", durable=True) as cluster:
            return _on(folder / "site", cluster.fresh(), count, at_rate)


def _on(folder: Path, url: str, count: int, at_rate: int) -> dict[str, Any]:
    pki.init(folder / "pki")
    gateways = [Gateway(folder / "pki", f"bench-{n:04}") for n in range(GATEWAYS)]
    port = free_port()
    flat, steady = (prepared(gateways, n, topics.ALARM, kind=kinds.HELP, severity=3) for n in (count, at_rate))
    limit = verify_limit()
    with mosquitto(folder / "broker", folder / "pki", port), reception(folder / "pki", url, port):
        load = Load(gateways, "localhost", port)
        try:
            seconds = load.flat_out(flat, OUTSTANDING)
            latencies = load.at_rate(steady, PER_S)
        finally:
            load.close()
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "events_per_s": round(count / seconds),
        "p50_ms": round(1000 * cuts[49], 1),
        "p99_ms": round(1000 * cuts[98], 1),
        "verify_limit_per_s": round(limit),
        "ratio": round(count / seconds / limit, 3),
        "gateways": GATEWAYS,
    }


def verify_limit(seconds: float = 1.0) -> float:
    """ES256 verifications a second on one core, by the OpenSSL that the reception uses, over a message as short as ours."""
    key = ec.generate_private_key(ec.SECP256R1())
    algorithm = ec.ECDSA(hashes.SHA256())
    signature, public = key.sign(bytes(128), algorithm), key.public_key()
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for _ in range(100):
            public.verify(signature, bytes(128), algorithm)
        count += 100
    return count / (time.monotonic() - began)


def _postgres_site() -> Any:
    """The private cluster of the tests; their folder is no package."""
    spec = importlib.util.spec_from_file_location("postgres_site", POSTGRES_SITE)
    if spec is None or spec.loader is None:
        sys.exit(f"{POSTGRES_SITE} cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
