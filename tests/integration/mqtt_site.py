"""A site to try the MQTT client at: certificates, a real Mosquitto on loopback, and programs in the real MicroPython."""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

PRELUDE = """
import asyncio, gc, json, os, ssl, sys, time
from gateway.mqtt import *
FOLDER = sys.argv[1]
PORT = int(sys.argv[2])

def tell(**what):
    print("\\x1e" + json.dumps(what))

def open_files():
    return len(os.listdir("/proc/self/fd"))

def context(name="me"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(FOLDER + "/ca.der")
    if name:
        made.load_cert_chain(FOLDER + "/" + name + ".der", FOLDER + "/" + name + ".key.der")
    return made

def tls(name="me", host="broker.test"):
    return tls_opener([("127.0.0.1", PORT)], context(name), host)

async def until(condition, ms=20000):
    start = time.ticks_ms()
    while not condition():
        if time.ticks_diff(time.ticks_ms(), start) > ms:
            raise Exception("waited in vain")
        await asyncio.sleep_ms(5)

"""


def certificates(folder: Path) -> None:
    """ca, broker (broker.test), expired (broker.test, yesterday), me, stranger (of another authority), each as PEM and DER."""
    authority = _certificate(folder, "ca", None)
    _certificate(folder, "broker", authority, "broker.test")
    _certificate(folder, "expired", authority, "broker.test", NOW - 9 * DAY, NOW - DAY)
    _certificate(folder, "me", authority)
    _certificate(folder, "stranger", _certificate(folder, "other", None))


Issuer = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _certificate(
    folder: Path, name: str, issuer: Issuer | None, host: str = "", start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 9 * DAY,
) -> Issuer:  # fmt: skip
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if host:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    for suffix, encoding in ((".pem", serialization.Encoding.PEM), (".der", serialization.Encoding.DER)):
        (folder / (name + suffix)).write_bytes(made.public_bytes(encoding))
        private = key.private_bytes(
            encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        (folder / (name + (".key" if suffix == ".pem" else ".key.der"))).write_bytes(private)
    return made, key


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A real broker with a TLS listener that demands client certificates, and a plain one."""

    def __init__(self, folder: Path, certificate: str = "broker", more: str = "") -> None:
        self.folder = folder
        self.tls_port, self.port = free_port(), free_port()
        self.config = folder / f"mosquitto-{self.port}.conf"
        self.config.write_text(
            f"user {getpass.getuser()}\nper_listener_settings false\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n{more}"
            f"listener {self.port} 127.0.0.1\n"
            f"listener {self.tls_port} 127.0.0.1\ncafile {folder}/ca.pem\nrequire_certificate true\n"
            f"certfile {folder}/{certificate}.pem\nkeyfile {folder}/{certificate}.key\nuse_identity_as_username true\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["mosquitto", "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.tls_port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Program:
    """A program in the real MicroPython with 192 KiB of heap; what it `tell`s are dicts, in order."""

    def __init__(self, folder: Path, port: int, source: str) -> None:
        path = folder / f"program-{time.monotonic_ns()}.py"
        path.write_text(PRELUDE + source)
        self.process = subprocess.Popen(
            [MICROPYTHON, "-X", "heapsize=192k", str(path), str(folder), str(port)],
            env=os.environ | {"MICROPYPATH": f"{ROOT / 'firmware'}:.frozen"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.output = ""

    def told(self) -> dict[str, Any]:
        """The next thing that the program tells."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "\x1e" in line:
                found: dict[str, Any] = json.loads(line[line.index("\x1e") + 1 :])
                return found
            self.output += line
        raise AssertionError("the program ended:\n" + self.output)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
