"""Delivers alarms by SCAIP, for as long as it takes: one reference each, receivers in order, a home's alarms in order.

    with ScaipChannel(store) as channel:
        ref = channel.deliver(codes.request_for(event, home, alarm=True), ["sips:a@one.example", "sips:a@two.example"])
        channel.wait(ref, 60).state                # delivered | refused | undelivered | waiting

A thread of its own runs the SIP side; every method may be called from any other thread.

Invariants
  I1  deliver() returned  =>  the message is sent until a receiver has confirmed it, or all have refused it; also after a restart.
  I2  a message goes out with the same `ref` always (TP-SCA-004).
  I3  `delivered` is stored before anybody is told.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from tryggport.errors import TryggError
from tryggport.scaip import codes, judge
from tryggport.scaip.agent import Agent, Listen
from tryggport.scaip.codes import Home
from tryggport.scaip.courier import REPLY_S, Courier, check_receivers
from tryggport.scaip.deliveries import DELIVERED, REFUSED, WAITING, Deliveries, Delivery, Outcome, outcome_of
from tryggport.scaip.digest import Credentials
from tryggport.scaip.judge import Next, Verdict
from tryggport.scaip.late import is_trusted
from tryggport.scaip.locate import TCP, UDP, Locator
from tryggport.scaip.message import MESSAGE, OK, Reply, Request, parse

ESCALATE_S = 60.0  # TP-BND-206
RETRY_S = (2.0, 60.0)  # TP-BND-207
AT_ONCE = 64  # TP-BND-208
START_S = 10.0
ATTEMPT_S = 25.0  # TP-BND-212
REOPEN_S = 10.0  # TP-BND-213
HEARTBEAT_S = 300.0  # TP-BND-209
REMEMBERED = 10_000
LATE = Verdict(Next.DELIVERED, "accepted, late", OK)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Times:
    """Bounds in seconds."""

    reply_s: float = REPLY_S
    escalate_s: float = ESCALATE_S
    retry_s: tuple[float, float] = RETRY_S
    reopen_s: float = REOPEN_S
    heartbeat_s: float = HEARTBEAT_S


class ScaipChannel:
    """`on_outcome` is called once for each new state of an alarm, from the channel's thread, after it was stored.

    `patient`: where an address to listen at cannot be had on entry, it says so and tries again; until then nothing is sent.
    """

    def __init__(
        self,
        store: Deliveries,
        *,
        listen: Sequence[Listen] = (Listen(UDP), Listen(TCP)),
        advertise: str = "",
        credentials: Mapping[str, Credentials] | None = None,
        client_tls: ssl.SSLContext | None = None,
        server_tls: ssl.SSLContext | None = None,
        locator: Locator | None = None,
        times: Times = Times(),
        patient: bool = False,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._store = store
        self._times = times
        self._patient = patient
        self._shut = ""  # why it is not open
        self._opening: asyncio.Task[None] | None = None
        self._on_outcome = on_outcome
        self._say = say
        self._open: dict[str, Delivery] = {}
        self._done: dict[str, tuple[str, ...]] = {}  # receivers of those that were settled lately
        self._lanes: dict[tuple[str, bool], tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._clocks: dict[str, asyncio.TimerHandle] = {}
        # By first receiver, and heartbeats apart: a centre that is gone must not hold up the alarms of another.
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._beats: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scaip", daemon=True)
        self.agent = Agent(_nobody, listen, advertise, client_tls, server_tls)
        self.courier = Courier(self.agent, locator=locator, credentials=credentials, on_reply=self._late)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._start(), START_S)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._stop(), START_S)
        self._end()

    def deliver(
        self, request: Request, receivers: Sequence[str], *, alarm: bool = True, case_id: int | None = None
    ) -> str:
        """Takes over the message; it is stored when this returns its `ref`. Doing so again changes nothing but for
        receivers that are new. Raises TryggError for a bad address, a bad request, or a store that fails."""
        delivery = Delivery(
            ref=request.ref, cid=request.cid, mty=request.mty, xml=request.to_xml(), alarm=alarm, case_id=case_id,
            receivers=check_receivers(receivers), created_ms=_now_ms(),
        )  # fmt: skip
        kept = self._store.add(delivery)
        self._loop.call_soon_threadsafe(self._admit, kept)
        return request.ref

    def outcome(self, ref: str) -> Outcome:
        """What has become of it so far. Raises TryggError for a `ref` that was never handed over."""
        found = self._store.get(ref)
        if found is None:
            raise TryggError(f"No message {ref} was handed over.")
        return outcome_of(found)

    def wait(self, ref: str, timeout_s: float) -> Outcome:
        """The outcome as soon as it is not `waiting`, or when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.outcome(ref).state != WAITING, timeout_s)
        return self.outcome(ref)

    def attempt(self, request: Request, receivers: Sequence[str]) -> Verdict:
        """Tries each receiver once, best first, until one has it; for a caller that keeps its own list and repeats by itself.

        Blocks for at most ATTEMPT_S, which the receivers share; nothing is stored. `REFUSED` only when all of them refuse. Where
        one of them has confirmed since the last attempt was given up, nothing is sent. Raises TryggError for a bad address or
        request, and while the channel is not open.
        """
        self._check_open()
        return self._call(self._attempt(request, check_receivers(receivers)), ATTEMPT_S + START_S)

    async def _attempt(self, request: Request, receivers: tuple[str, ...]) -> Verdict:
        said: list[Verdict] = []
        deadline = self._loop.time() + ATTEMPT_S
        for place, receiver in enumerate(receivers):
            if self.courier.confirmed(request.ref, receivers):
                return LATE
            share_s = (deadline - self._loop.time()) / (len(receivers) - place)
            reply_s = min(self._times.reply_s, share_s / 2)  # a message that is rejected goes a second time
            verdict = await self.courier.attempt(request, receiver, reply_s=reply_s, of=receivers)
            if verdict.next is Next.REDUCE:
                verdict = await self.courier.attempt(request.reduced(), receiver, reply_s=reply_s, of=receivers)
            if verdict.delivered:
                return verdict
            said.append(verdict)
        if self.courier.confirmed(request.ref, receivers):
            return LATE
        return next((v for v in said if v.next is not Next.REFUSED), said[-1])

    def heartbeat(self, home: Home, path: int, receivers: Sequence[str]) -> Future[dict[str, Verdict]]:
        """Sends a sign of life of the home's path (0 primary) to every receiver; what each answered. Nothing is kept.

        One that has waited for as long as a heartbeat lasts is dropped: it would tell of a home that may be silent by now. Who
        beats waits for the result before the next one. Raises TryggError for a bad address, and while the channel is not open.
        """
        self._check_open()
        return asyncio.run_coroutine_threadsafe(self._beat(home, path, check_receivers(receivers)), self._loop)

    async def _beat(self, home: Home, path: int, receivers: Sequence[str]) -> dict[str, Verdict]:
        async def one(receiver: str) -> Verdict:
            request = codes.heartbeat(home, secrets.token_hex(8), path)
            return await self.courier.attempt(request, receiver, reply_s=self._times.reply_s)

        asked_s = self._loop.time()
        async with self._beats[receivers[0]]:
            if self._loop.time() - asked_s > self._times.heartbeat_s:
                return dict.fromkeys(receivers, judge.silence("is not asked, the heartbeat is too old", reached=False))
            return dict(zip(receivers, await asyncio.gather(*map(one, receivers)), strict=True))

    async def _start(self) -> None:
        try:
            await self._open_agent()
        except TryggError as e:
            if not self._patient:
                raise
            self._shut = e.message
            self._say(f"SCAIP cannot be used yet: {e.message}")
            self._opening = self._loop.create_task(self._open_later())

    async def _open_later(self) -> None:
        while self._shut:
            await asyncio.sleep(self._times.reopen_s)
            try:
                await self._open_agent()
            except TryggError as e:
                self._shut = e.message
        self._say("SCAIP can be used now.")

    async def _open_agent(self) -> None:
        await self.agent.open()
        try:
            waiting = self._store.open()
        except TryggError:
            await self.agent.close()
            raise
        self._shut = ""
        for delivery in waiting:
            self._admit(delivery)

    def _check_open(self) -> None:
        if self._shut:
            raise TryggError(self._shut)

    async def _stop(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
        for clock in self._clocks.values():
            clock.cancel()
        lanes = [task for task, _ in self._lanes.values()]
        for task in lanes:
            task.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        await self.agent.close()

    def _call(self, work: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _admit(self, delivery: Delivery) -> None:
        """Puts a message on its lane: one for the alarms of a home, one for the rest."""
        known = self._open.get(delivery.ref)
        if self._shut:
            return  # it is stored, and comes here again once we are open
        if known is not None:
            delivery = dataclasses.replace(known, receivers=delivery.receivers)
        elif delivery.state != WAITING or self._done.get(delivery.ref) == delivery.receivers:
            return  # it was settled while this was on its way here
        self._open[delivery.ref] = delivery
        if delivery.alarm and delivery.escalated_ms is None and delivery.ref not in self._clocks:
            left_s = self._times.escalate_s - (_now_ms() - delivery.created_ms) / 1000
            self._clocks[delivery.ref] = self._loop.call_later(max(0.0, left_s), self._escalate, delivery.ref)
        lane = (delivery.cid, delivery.alarm)
        if lane in self._lanes:
            self._lanes[lane][1].set()
        else:
            wake = asyncio.Event()
            self._lanes[lane] = self._loop.create_task(self._drain(lane, wake)), wake

    async def _drain(self, lane: tuple[str, bool], wake: asyncio.Event) -> None:
        """Until the lane is empty: rounds over what is on it, and a pause that a new message ends."""
        failures = 0
        first_s, last_s = self._times.retry_s
        while waiting := self._waiting_on(lane):
            wake.clear()
            try:
                await self._round(waiting)
            except TryggError as e:  # the store: what is sent once more carries the same ref
                self._say(e.message)
            except Exception as e:  # a fault in this program must not silence a home
                self._say(f"Fault in this program, it goes on: {e!r}")
            failures = 0 if any(d.ref not in self._open for d in waiting) else failures + 1
            if failures:
                pause_s = min(last_s, first_s * 2 ** min(failures - 1, 8))
                try:
                    await asyncio.wait_for(wake.wait(), pause_s)
                except TimeoutError:
                    continue
        del self._lanes[lane]

    def _waiting_on(self, lane: tuple[str, bool]) -> list[Delivery]:
        cid, alarm = lane
        found = [d for d in self._open.values() if (d.cid, d.alarm) == (cid, alarm)]
        return sorted(found, key=lambda d: d.order)

    async def _round(self, waiting: Sequence[Delivery]) -> None:
        """Each message in its order. Once no receiver can be reached, only alarms that were never tried still are.

        What takes back or adds to an alarm waits until the alarms before it are with the centre.
        """
        unreached = held = False
        for delivery in waiting:
            if (unreached and (delivery.attempts or not delivery.alarm)) or (held and delivery.mty != MESSAGE):
                continue
            if not delivery.alarm and self._waiting_on((delivery.cid, True)):
                return
            async with self._slots[delivery.receivers[0]]:
                reached = await self._try(delivery.ref)
            unreached = unreached or not reached
            held = held or (delivery.ref in self._open and delivery.mty == MESSAGE)

    async def _try(self, ref: str) -> bool:
        """One attempt at each receiver until one has it. Returns whether any was reached."""
        reached = False
        for receiver in self._open[ref].receivers if ref in self._open else ():
            delivery = self._open.get(ref)
            if delivery is None:  # a late reply
                return True
            if receiver in delivery.refused:
                continue
            verdict = await self._ask(delivery, receiver)
            if verdict.next is Next.REDUCE:
                delivery = self._keep(ref, reduced=True, why=verdict.why, snu=verdict.snu)
                verdict = await self._ask(delivery, receiver) if delivery else verdict
            reached = reached or verdict.reached
            self._apply(ref, receiver, verdict)
        return reached

    async def _ask(self, delivery: Delivery, receiver: str) -> Verdict:
        request = parse(delivery.xml)
        if not isinstance(request, Request):
            raise TryggError(f"The stored message {delivery.ref} is not a request.")
        request = request.reduced() if delivery.reduced else request
        return await self.courier.attempt(request, receiver, reply_s=self._times.reply_s, of=delivery.receivers)

    def _apply(self, ref: str, receiver: str, verdict: Verdict) -> None:
        delivery = self._open.get(ref)
        if delivery is None:
            return
        refused = (*delivery.refused, receiver) if verdict.next is Next.REFUSED else delivery.refused
        state = WAITING
        if verdict.delivered:
            state = DELIVERED
        elif set(refused) >= set(delivery.receivers):
            state = REFUSED
        said = {"receiver": receiver, "snu": verdict.snu, "why": verdict.why}
        self._keep(ref, attempts=delivery.attempts + 1, refused=refused, state=state, **said)

    def _late(self, reply: Reply, transport: str) -> None:
        """A reply that no attempt waits for: the alarm is with the centre all the same."""
        delivery = self._open.get(reply.ref)
        if delivery is None or reply.snu != OK:
            return
        if is_trusted(delivery.receivers, transport):
            try:
                self._keep(reply.ref, state=DELIVERED, snu=LATE.snu, why=LATE.why)
            except TryggError as e:
                self._say(e.message)

    def _escalate(self, ref: str) -> None:
        try:
            if ref in self._open:
                self._keep(ref, escalated_ms=_now_ms())
        except TryggError as e:
            self._say(e.message)
            self._clocks[ref] = self._loop.call_later(self._times.retry_s[0], self._escalate, ref)

    def _keep(self, ref: str, **changes: Any) -> Delivery | None:
        """Stores the change, then tells of it."""
        before = self._open.get(ref)
        if before is None:
            return None
        changed = dataclasses.replace(before, **changes)
        if changed.state != WAITING:
            changed = dataclasses.replace(changed, done_ms=_now_ms())
        self._store.save(changed)
        if changed.state == WAITING:
            self._open[ref] = changed
        else:
            del self._open[ref]
            self._done[ref] = changed.receivers
            if len(self._done) > REMEMBERED:
                del self._done[next(iter(self._done))]
            if clock := self._clocks.pop(ref, None):
                clock.cancel()
            self._wake((changed.cid, False))
        if outcome_of(changed).state != outcome_of(before).state:
            with self._changed:
                self._changed.notify_all()
            self._tell(outcome_of(changed))
        return changed

    def _wake(self, lane: tuple[str, bool]) -> None:
        if lane in self._lanes:
            self._lanes[lane][1].set()

    def _tell(self, outcome: Outcome) -> None:
        try:
            self._on_outcome(outcome)
        except TryggError as e:
            self._say(e.message)


async def _nobody(*_: object) -> None:
    return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
