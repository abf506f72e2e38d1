"""Brokers on 127.0.0.1 for tests and the demo, with the certificates of a PKI folder and mutual TLS."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tryggport import paths
from tryggport.errors import TryggError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10
SEARCH_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin"  # Debian keeps daemons there
RUMQTTD_CONF = Template("""\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 16777216
max_segment_count = 4
[v5.1]
name = "tryggport"
listen = "$host:$port"
next_connection_delay_ms = 1
[v5.1.tls]
capath = "$pki/device-ca.pem"
certpath = "$pki/broker.pem"
keypath = "$pki/broker.key"
[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = 4096
max_inflight_count = 2000
dynamic_filters = true
""")


@dataclass(frozen=True)
class Broker:
    """A running broker; `pid` is its process where that may be ended by a test."""

    host: str
    port: int
    pid: int | None


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as s:
        s.bind((HOST, 0))
        port: int = s.getsockname()[1]
        return port


@contextmanager
def mosquitto(folder: Path, pki_dir: Path, port: int) -> Iterator[Broker]:
    """Mosquitto as host_tools/deploy/ sets it up, its state and log in `folder`. Sessions survive a stop and a new start."""
    binary = shutil.which("mosquitto", path=SEARCH_PATH)
    if binary is None:
        raise TryggError("Mosquitto is not installed.", "Type: sudo apt-get install -y mosquitto")
    _refuse_taken(port)
    folder.mkdir(parents=True, exist_ok=True)
    deploy = paths.folder("host_tools") / "deploy"
    values = {"pki": pki_dir.resolve(), "folder": folder.resolve(), "host": HOST, "port": port}
    conf = Template((deploy / "mosquitto.conf").read_text()).substitute(values)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        conf += "user root\n"  # or Mosquitto gives up root, and with it the folder of mode 0700
    (folder / "mosquitto.conf").write_text(conf)
    shutil.copy(deploy / "acl.conf", folder / "acl.conf")
    (folder / "acl.conf").chmod(0o600)
    log = folder / "mosquitto.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [binary, "-c", str(folder / "mosquitto.conf")], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until_listening(process, port, log)
        yield Broker(HOST, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def iotcore_broker(folder: Path, pki_dir: Path, port: int) -> Iterator[Broker]:
    """rumqttd out of the iotcore package, in a child process that ends with this one.

    It needs nothing installed, and it is for demos only: it has no ACL, lets clients in without a certificate, keeps
    nothing over its own restart, and closes the connection on a payload over 4,096 bytes.
    """
    from iotcore import Broker as Rumqttd

    _refuse_taken(port)
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "rumqttd.toml"
    conf.write_text(RUMQTTD_CONF.substitute(host=HOST, port=port, pki=pki_dir.resolve().as_posix()))
    broker = Rumqttd(config_path=str(conf))
    try:
        broker.start(timeout=START_TIMEOUT_S)
    except (OSError, RuntimeError) as e:
        raise TryggError(f"The built-in broker did not start on port {port}: {e}.") from None
    try:
        yield Broker(HOST, port, None)
    finally:
        broker.stop()


def _refuse_taken(port: int) -> None:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((HOST, port))
        except OSError:
            raise TryggError(
                f"Port {port} on {HOST} is in use.", "Stop what listens there, or name another port."
            ) from None


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    lines = log.read_text(errors="replace").splitlines()
    raise TryggError(f"Mosquitto did not start on port {port}: {lines[-1] if lines else 'it says nothing'}")
