"""One worker: it receives, and does what is done by the clock while it leads.

seat ─> name at the brokers ─> Reception ──┐
lease ─> Duty ─> Timers, SCAIP, adoption   ├─ one database
                                           ┘
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tryggport.errors import TryggError
from tryggport.reception import seats
from tryggport.reception.adoption import Adoption
from tryggport.reception.canary import Pulse
from tryggport.reception.database import open_database
from tryggport.reception.duty import Duty
from tryggport.reception.handover import SqlDeliveries
from tryggport.reception.lease import LEASE_MS, Lease
from tryggport.reception.seats import Seat
from tryggport.reception.service import Reception, Step, no_step
from tryggport.reception.timers import Timers
from tryggport.scaip.channel import ScaipChannel
from tryggport.scaip.settings import Settings

RENEWALS = 5  # in a lease


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a worker is told. `brokers`: the paths in their order; `scaip` None: no SCAIP."""

    pki: Path
    database_url: str
    brokers: Sequence[tuple[str, int]]
    pulses: Sequence[Pulse] = ()
    cafile: Path | None = None
    scaip: Settings | None = None
    lease_ms: int = LEASE_MS


class Worker:
    """`run` serves in the calling thread until `stop`. `say` gets the worker's name and a sentence. Raises TryggError."""

    def __init__(self, plan: Plan, say: Callable[[str, str], None], on_step: Step = no_step) -> None:
        self._plan = plan
        self._database = open_database(plan.database_url)
        try:
            self._seat = seats.take(self._database, plan.pki)
            self._lease = Lease(self._database, seats.holder(self._seat.name), plan.lease_ms)
            self._say = lambda sentence: say(self._seat.name, sentence)
            self._failure: TryggError | None = None
            self._on_step = on_step
            self.reception = self._reception(self._seat, on_step, leads=lambda: self._lease.held)
        except BaseException:
            self._database.close()
            raise

    def stop(self) -> None:
        """May be called from a signal handler."""
        self.reception.stop()

    def run(self) -> None:
        with contextlib.closing(self._database):
            duty = Duty(
                self._lease, self._work, self._say, check=self._seat.check, fit=self._fit, fail=self._fail,
                on_step=self._on_step,
                renew_s=self._plan.lease_ms / 1000 / RENEWALS,
            )  # fmt: skip
            with duty:
                self.reception.run()
            self._seat.give_back(empty=self.reception.left)
            if self._failure is not None:
                raise self._failure

    def _fit(self) -> bool:
        """A leader without a broker stores no status; it may as well lead where nobody else could."""
        return self.reception.connected or not self._seat.has_others()

    def _fail(self, e: TryggError) -> None:
        self._failure = e
        self.stop()

    def _reception(self, seat: Seat, on_step: Step = no_step, **options: Any) -> Reception:
        plan = self._plan
        (host, port), *others = plan.brokers
        return Reception(
            plan.pki, plan.database_url, host, port, on_step, self._say, others=others, seat=seat, **options
        )  # fmt: skip

    @contextlib.contextmanager
    def _work(self) -> Iterator[None]:
        """What the leader runs; every write of it is fenced by the lease."""
        plan, leads = self._plan, lambda: self._lease.held
        fenced = self._database.fenced(self._lease.check)
        with contextlib.ExitStack() as stack:
            scaip = None
            if plan.scaip is not None:
                # Patient: where a leader that hangs still has the port, all the rest is done all the same.
                options = plan.scaip.as_options()
                scaip = ScaipChannel(SqlDeliveries(fenced), **options, patient=True, say=self._say)
                stack.enter_context(scaip)
            host, port = plan.brokers[0]
            stack.enter_context(
                Timers.of(
                    plan.pki, fenced, host, port, pulses=plan.pulses, cafile=plan.cafile, scaip=scaip, say=self._say,
                    leads=leads,
                )
            )  # fmt: skip
            stack.enter_context(Adoption(self._database, self._fetch, leads, self._say))
            yield

    def _fetch(self, seat: Seat) -> bool:
        """What brokers hold for a seat that nobody has; returns whether they keep nothing more."""
        fetching = self._reception(seat, self._on_step, serves=False)
        fetching.run()
        return fetching.left
