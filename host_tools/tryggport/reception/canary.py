"""The reception watches itself: a gateway of its own sends a signed alarm, whose receipt must come back (TP-REC-009).

The alarm goes the whole way: TLS, the broker, verification, the database, the signed receipt. Only after it has come back are the
pulses sent that tell others that the reception lives: the dead-man URL, and the heartbeats to the centre. A reception that hears
nothing, stores nothing or has ended sends no pulse, and whoever waits for it raises the alarm.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from tryggport.errors import TryggError, in_words
from tryggport.pki import files
from tryggport.reception import vital
from tryggport.reception.database import Database
from tryggport.reception.installations import CANARY
from tryggport.sim.gateway import Gateway, Keys
from tryggport.wire import kinds
from tryggport.wire.receipt import digest

EVERY_S = 60.0  # TP-BND-063
ANSWER_S = 20.0  # TP-BND-064
FIRST_S = 5.0
AGAIN_S = 10.0  # after a failure
STILL_MS = 60_000  # so long the timers may be silent
PULSE_TIMEOUT_S = 5.0
FOLDER = "canary"
SETTLING = (kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE)
Pulse = Callable[[], None]


def keys(pki_dir: Path) -> Keys:
    """The canary's keys, made at the first call. Raises TryggError for keys that cannot be read."""
    folder = pki_dir / FOLDER
    if not folder.exists():
        files.make_folder(folder)
        for name in ("tls", "sign"):
            files.write_new(folder / f"{name}.key", files.key_pem(ec.generate_private_key(ec.SECP256R1()), None))
    return Keys(files.load_key(folder / "tls.key"), files.load_key(folder / "sign.key"))


class Canary:
    """Raises TryggError when the canary has no certificates and the device CA's key is not here to issue them.

    `pulses` are called after each success; one that fails is told of through `say` and does not stop the others.
    """

    def __init__(
        self, pki_dir: Path, database: Database, host: str, port: int, clock_ms: Callable[[], int],
        pulses: Sequence[Pulse] = (), say: Callable[[str], None] = print, answer_s: float = ANSWER_S,
    ) -> None:  # fmt: skip
        self._gateway = Gateway(pki_dir, CANARY, keys(pki_dir))
        self._database = database
        self._address = (host, port)
        self._clock_ms = clock_ms
        self._pulses = pulses
        self._say = say
        self._answer_s = answer_s

    def run(self, stop: threading.Event, every_s: float = EVERY_S) -> None:
        """Until `stop` is set; the first alarm goes when the reception has had the time to connect."""
        wait_s = min(every_s, FIRST_S)
        while not stop.wait(wait_s):
            wait_s = every_s if self.tick() else min(every_s, AGAIN_S)

    def tick(self) -> bool:
        """One alarm, and the pulses when its receipt has come back; returns whether it has."""
        try:
            self.check()
            self._note()
        except Exception as e:
            self._say(f"the reception's own test alarm did not come through: {in_words(e)}")
            return False
        for pulse in self._pulses:
            try:
                pulse()
            except Exception as e:
                self._say(in_words(e))
        return True

    def _note(self) -> None:
        """Raises TryggError when grace, escalation or supervision stand still: alarms that nobody hears of are no success."""
        now_ms = self._clock_ms()
        with self._database.write() as tx:
            timers_ms = vital.last(tx, vital.TIMERS)
            if timers_ms is not None and now_ms - timers_ms > STILL_MS:
                raise TryggError("Grace, escalation or supervision stand still.", "Start the reception again.")
            vital.note(tx, vital.CANARY, now_ms)

    def check(self) -> None:
        """Sends a signed test alarm and waits for its receipt. Raises TryggError when none comes, or a wrong one."""
        gateway = self._gateway
        with gateway.connected(*self._address):
            event = gateway.event(kinds.HELP, test=True, sensor="canary")
            gateway.send(event)
            wanted = (event.seq, event.seq, digest([event.sha256]))
            while True:  # receipts of earlier alarms may lie at the broker
                receipt = gateway.receipt(self._answer_s)
                if wanted in receipt.ranges and receipt.outcome in SETTLING:
                    return


def dead_man(url: str, cafile: Path | None = None) -> Pulse:
    """A pulse that GETs an https:// URL; whoever owns it calls somebody when it is not called. Raises TryggError for a bad URL."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise TryggError(f"The dead-man URL {url} is not an https:// address.", usage=True)
    host, port = parts.hostname, parts.port or 443
    context = ssl.create_default_context(cafile=str(cafile) if cafile else None)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def pulse() -> None:
        connection = http.client.HTTPSConnection(host, port, timeout=PULSE_TIMEOUT_S, context=context)
        try:
            connection.request("GET", path)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as e:
            raise TryggError(f"The dead-man URL at {host} does not answer: {e}.") from None
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise TryggError(f"The dead-man URL at {host} answers with HTTP {status}.")

    return pulse
