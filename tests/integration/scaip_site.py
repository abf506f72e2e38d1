"""Simulated centres and a channel towards them, for tests: real sockets on loopback."""

import asyncio
import contextlib
import dataclasses
import ssl
import subprocess
import threading
import time

from tryggport.scaip.agent import Agent, Listen
from tryggport.scaip.behaviour import script
from tryggport.scaip.centre import Centre
from tryggport.scaip.channel import ScaipChannel, Times
from tryggport.scaip.deliveries import MemoryDeliveries
from tryggport.scaip.message import Request

CID = "4700012345"
FAST = Times(reply_s=0.6, escalate_s=60.0, retry_s=(0.1, 0.4))


def fall(ref="9f3c01aa20e40007", cid=CID, **fields):
    return Request(ref=ref, cid=cid, dty=5, stc=9, **({"stt": "Fall", "lco": 11, "crd": "no-voice:"} | fields))


class Arc:
    """One simulated centre; `udp`, `tcp`, `tls` are its addresses."""

    def __init__(self, centre, loop):
        self.centre, self._loop = centre, loop
        ports = centre.agent.ports
        self.udp = f"sip:arc@127.0.0.1:{ports.get('UDP')}"
        self.tcp = f"sip:arc@127.0.0.1:{ports.get('TCP')};transport=tcp"
        self.tls = f"sips:arc@localhost:{ports.get('TLS')}"

    def behave(self, text):
        self._loop.call_soon_threadsafe(self.centre.script.extend, script(text))

    @property
    def seen(self):
        return list(self.centre.seen)

    @property
    def refs(self):
        return [seen.request.ref for seen in self.seen if seen.request]

    def wait(self, count, timeout_s=10):
        assert wait_for(lambda: len(self.centre.seen) >= count, timeout_s), self.seen
        return self.seen


@contextlib.contextmanager
def arc(behave="", port=0, tls=None, idle_s=900.0, **options):
    """A centre on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listen = [Listen("UDP", port=port), Listen("TCP", port=port)]
    listen += [Listen("TLS", "127.0.0.1")] if tls else []
    agent = Agent(
        None, listen, server_tls=tls.server if tls else None, client_tls=tls.client if tls else None, idle_s=idle_s
    )
    centre = Centre(agent, behaviours=script(behave), **options)
    try:
        asyncio.run_coroutine_threadsafe(agent.open(), loop).result(5)
        yield Arc(centre, loop)
    finally:
        asyncio.run_coroutine_threadsafe(agent.close(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def channel(store=None, times=FAST, **options):
    """A channel and the outcomes it told of: (channel, list)."""
    told = []
    with ScaipChannel(store or MemoryDeliveries(), times=times, on_outcome=told.append, **options) as made:
        yield made, told


@dataclasses.dataclass
class Tls:
    folder: object
    server: ssl.SSLContext
    client: ssl.SSLContext


def make_tls(folder):
    """A self-signed certificate for localhost, and the trust in it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
               "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return Tls(folder, server, ssl.create_default_context(cafile=str(cert)))


def wait_for(condition, timeout_s=10.0):
    """Whether `condition()` becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
