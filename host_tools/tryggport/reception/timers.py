"""What the reception does by the clock, in threads beside the one that receives: grace, escalation, supervision, recovery, canary."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tryggport.errors import TryggError
from tryggport.reception import vital
from tryggport.reception.canary import EVERY_S, Canary, Pulse
from tryggport.reception.channels import Channel, Console, Webhook
from tryggport.reception.database import Database
from tryggport.reception.escalation import Escalation
from tryggport.reception.handover import Bridge
from tryggport.reception.keyring import ReceiptKey
from tryggport.reception.lease import NotLeadingError
from tryggport.reception.ledger import now_ms
from tryggport.reception.lists import Step
from tryggport.reception.recovery import Recovery
from tryggport.reception.scaip_step import ScaipStep
from tryggport.reception.supervision import Supervisor
from tryggport.scaip.channel import ScaipChannel

BEAT_S = 0.5  # TP-BND-065: grace and escalation
LOOK_S = 5.0  # TP-BND-066: supervision
STOP_S = 1.0
_CANARY_HINT = "Run it once where the device CA's key is, then copy canary/ and gateways/."


class Timers:
    """A context: all of it runs until it is left. A database that fails is told of through `say`, and tried again."""

    def __init__(
        self, database: Database, supervisor: Supervisor, escalation: Escalation, canary: Canary | None = None, bridge: Bridge | None = None, *,
        recovery: Recovery | None = None, say: Callable[[str], None] = print, beat_s: float = BEAT_S, look_s: float = LOOK_S,
        canary_s: float = EVERY_S, leads: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self._database = database
        self._supervisor = supervisor
        self._escalation = escalation
        self._recovery = recovery
        self._say = say
        self._beat_s = beat_s
        self._look_s = look_s
        self._leads = leads
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, name="timers", daemon=True)]
        if canary is not None:
            arguments = (self._stop, canary_s)
            self._threads.append(threading.Thread(target=canary.run, args=arguments, name="canary", daemon=True))

        if bridge is not None:
            self._threads.append(threading.Thread(target=bridge.run, args=(self._stop,), name="bridge", daemon=True))

    @classmethod
    def of(
        cls, pki_dir: Path, database: Database, host: str, port: int, *, pulses: Sequence[Pulse] = (),
        cafile: Path | None = None, scaip: ScaipChannel | None = None, say: Callable[[str], None] = print,
        leads: Callable[[], bool] = lambda: True,
    ) -> Self:  # fmt: skip
        """As a reception runs them. Without keys for the canary there is none, and `say` tells what to do about it.

        `leads`: asked before each act; `database` asks by itself, in every transaction (lease.py).
        """

        def channel_of(step: Step) -> Channel:
            if not leads():
                raise NotLeadingError
            if step.kind == "webhook":
                return Webhook(step.target, Path(step.secret_file or ""), cafile)
            if step.kind == "scaip" and scaip is not None:
                return ScaipStep(scaip, step.target)
            if step.kind == "console":
                return Console(database, now_ms)
            raise TryggError(f"This reception has no way to reach {step.name} ({step.kind}).")

        try:
            canary = Canary(pki_dir, database, host, port, now_ms, pulses, say)
        except TryggError as e:
            canary = None
            say(f"no test alarms of its own: {e.message} {_CANARY_HINT}")
        has_canary = canary is not None
        bridge = Bridge(database, scaip, has_canary=has_canary, say=say) if scaip is not None else None
        escalation = Escalation(database, channel_of, now_ms)
        recovery = Recovery(database, ReceiptKey(pki_dir), now_ms)
        return cls(
            database, Supervisor(database, now_ms), escalation, canary, bridge, recovery=recovery, say=say, leads=leads
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_S)  # the canary may wait for a receipt that nobody sends any more
        self._escalation.close()

    def _run(self) -> None:
        """A part that fails keeps no other from its work; while one does, the reception's own test alarm counts as failed."""
        next_look_s, well = 0.0, True
        while not self._stop.wait(self._beat_s):
            well &= self._works(self._supervisor.promote) & self._works(self._escalation.tick)
            if time.monotonic() >= next_look_s:
                well &= self._works(self._supervisor.tick)
                if self._recovery is not None:
                    well &= self._works(self._recovery.tick)
                if well:
                    self._works(self._note)
                next_look_s, well = time.monotonic() + self._look_s, True

    def _works(self, part: Callable[[], object]) -> bool:
        if not self._leads():
            return False
        try:
            part()
        except TryggError as e:
            self._say(e.message)
            return False
        except (
            Exception
        ) as e:  # a fault of ours in one part: the others go on, and whoever waits for the pulse is called
            self._say(f"fault in this program: {e!r}")
            return False
        return True

    def _note(self) -> None:
        with self._database.write() as tx:
            vital.note(tx, vital.TIMERS, now_ms())
