"""What supervision looks for. Each function reads the database once and yields findings; it changes nothing.

A finding appears under one key for as long as it lasts. `delay_ms` is how long it must last before anybody is troubled with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, exists, func, select, text

from tryggport.reception import asked, gaps, sessions, vital
from tryggport.reception import cases as case_book
from tryggport.reception.aside import NOT_STORED
from tryggport.reception.conditions import standing
from tryggport.reception.installations import CANARY
from tryggport.reception.schema import (
    CLOSED,
    cases,
    events,
    installations,
    municipalities,
    revoked,
    statuses,
    unreadable,
)
from tryggport.wire import kinds

DAY_MS = 24 * 3600 * 1000
HEARTBEAT_MS = 300_000  # TP-BND-008
CLONE_RETURNS = 3  # a broker that delivers twice after a crash may make one session return once or twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From when on something is worth a line. Times in ms."""

    heartbeat_ms: int = HEARTBEAT_MS
    withheld_ms: int = 60_000
    never_heard_ms: int = DAY_MS
    clock_ms: int = 300_000
    clone_ms: int = DAY_MS
    canary_ms: int = 180_000
    untested_days: int = 35
    outage_gateways: int = 5
    outage_share: float = 0.2
    outage_window_ms: int = 600_000
    resting_ms: int = 26 * 3_600_000  # a path at rest is tested daily (TP-BND-033)

    @property
    def silent_ms(self) -> int:
        """Half a heartbeat before the third one is missed, so that the verdict stands by then (TP-REC-010)."""
        return self.heartbeat_ms * 5 // 2


DEFAULTS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing to do. `since_ms`: when it began, where that is known; `part_of`: the finding that is shown in its place."""

    key: str
    kind: str
    sentence: str
    municipality_id: int | None = None
    home: str | None = None
    gateway: str | None = None
    area: str | None = None
    since_ms: int | None = None
    delay_ms: int = 0
    part_of: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway's installation and what its municipality asks for; `row` None: it serves no home."""

    gateway: str
    row: Any = None

    @property
    def name(self) -> str:
        return f"the gateway {self.gateway} in home {self.row.home}" if self.row else f"the gateway {self.gateway}"

    def finding(self, kind: str, sentence: str, *, key: str = "", **more: Any) -> Finding:
        row = self.row
        return Finding(
            key=f"{kind}:{self.gateway}{key}", kind=kind, sentence=sentence[0].upper() + sentence[1:],
            gateway=self.gateway, municipality_id=row and row.municipality_id, home=row and row.home,
            area=row and row.area, **more,
        )  # fmt: skip


def find(tx: Connection, now_ms: int, limits: Limits) -> tuple[list[Finding], list[gaps.Progress]]:
    """Everything there is to do at `now_ms`, a finding for each single thing, and what to remember of the epochs."""
    places = _places(tx)
    states = tx.execute(select(statuses).where(statuses.c.gateway != CANARY).order_by(*statuses.primary_key)).all()
    missing, moved = gaps.find(tx, states, now_ms)
    # What a gateway last said, over whichever path.
    latest = {state.gateway: state for state in sorted(states, key=lambda state: state.seen_ms or 0)}.values()
    found = [
        *_silent(states, places, now_ms, limits),
        *_never_heard(states, places, now_ms, limits),
        *_clocks(latest, places, limits),
        *_old_firmware(latest, places),
        *_withheld(missing, places, limits),
        *_conditions(tx, places),
        *_untested(tx, places, now_ms, limits),
        *_clones(tx, places, now_ms, limits),
        *_homeless(tx, states, places),
        *_unanswered(tx, now_ms),
        *_not_stored(tx, places),
        *_canary(tx, now_ms, limits),
    ]
    return found, moved


def _places(tx: Connection) -> dict[str, Place]:
    columns = (installations, municipalities.c.oldest_firmware, municipalities.c.untested_days)
    query = select(*columns).join(municipalities).where(installations.c.to_ms.is_(None))
    return {row.gateway: Place(row.gateway, row) for row in tx.execute(query.order_by(installations.c.gateway))}


def _silent(states: Sequence[Any], places: Mapping[str, Place], now_ms: int, limits: Limits) -> Iterator[Finding]:
    """A gateway is silent when every path is; one path of several is a line of its own. Of a gateway in no home, nothing."""
    by_gateway: dict[str, list[Any]] = {}
    for state in states:
        if state.seen_ms is not None and state.gateway in places:
            by_gateway.setdefault(state.gateway, []).append(state)
    for gateway, paths in by_gateway.items():
        place = places[gateway]
        since_ms = max(state.seen_ms for state in paths)
        if now_ms - since_ms >= limits.silent_ms:
            sentence = f"{place.name} is silent. Call the home, and look at its power and network."
            yield place.finding("silent", sentence, since_ms=since_ms)
            continue
        for state in paths:
            if now_ms - state.seen_ms < limits.resting_ms:
                continue
            sentence = f"{place.name} is silent on path {state.path}. It has another one; find out what is wrong."
            yield place.finding("silent path", sentence, key=f":{state.path}", since_ms=state.seen_ms)


def _never_heard(states: Sequence[Any], places: Mapping[str, Place], now_ms: int, limits: Limits) -> Iterator[Finding]:
    heard = {state.gateway for state in states if state.seen_ms is not None}
    for gateway, place in places.items():
        if gateway not in heard and now_ms - place.row.from_ms >= limits.never_heard_ms:
            yield place.finding("never heard", f"{place.name} has never been heard. Is it switched on?")


def _clocks(states: Collection[Any], places: Mapping[str, Place], limits: Limits) -> Iterator[Finding]:
    """Judged by two heartbeats: one may have waited at the broker."""
    for state in states:
        if state.utc_ms is None or state.seen_ms is None or state.quality == kinds.QUALITY_NEVER:
            continue
        off_ms = state.utc_ms - state.seen_ms
        if abs(off_ms) >= limits.clock_ms:
            place = places.get(state.gateway, Place(state.gateway))
            which = "ahead" if off_ms > 0 else "behind"
            sentence = (
                f"the clock of {place.name} is {abs(off_ms) // 60_000} minutes {which}. Can it reach a time server?"
            )
            yield place.finding("clock", sentence, delay_ms=limits.heartbeat_ms * 3 // 2)


def _old_firmware(states: Collection[Any], places: Mapping[str, Place]) -> Iterator[Finding]:
    for state in states:
        place = places.get(state.gateway)
        oldest = place.row.oldest_firmware if place else None
        if place and oldest and _version(state.firmware) < _version(oldest):
            sentence = f"{place.name} runs firmware {state.firmware}, older than {oldest}. Update it."
            yield place.finding("firmware", sentence)


def _version(name: str) -> tuple[int, ...]:
    """The numbers of a version; a name without any is older than all."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", name)
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def _withheld(missing: Sequence[gaps.Gap], places: Mapping[str, Place], limits: Limits) -> Iterator[Finding]:
    """The key names the first event that is missing: what is only on its way is another one the next time."""
    for gap in missing:
        place = places.get(gap.gateway, Place(gap.gateway))
        sentence = f"{_which(gap, place.name)} {_what_to_do(gap)}"
        key = f":{gap.epoch.hex()}:{gap.first}"
        yield place.finding("withheld", sentence, key=key, delay_ms=limits.withheld_ms)


def _which(gap: gaps.Gap, place: str) -> str:
    why = "events are withheld" if gap.runs else "the gateway no longer holds them, so they are lost"
    if gap.first == gap.last:
        return f"event {gap.first} of {place} has not arrived: {why}."
    return f"{gap.missing} events from {gap.first} to {gap.last} of {place} have not arrived: {why}."


def _what_to_do(gap: gaps.Gap) -> str:
    parts = ["Look at its network." if gap.runs else "Ask the home what happened."]
    if gap.runs and gap.lost:
        parts.append(f"{gap.lost} of them it no longer holds: they are lost.")
    if gap.requests:
        last = datetime.fromtimestamp(gap.requests[-1].asked_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        times = "once" if len(gap.requests) == 1 else f"{len(gap.requests)} times"
        parts.append(f"It was asked for them {times}, last at {last} UTC.")
    if gap.runs and asked.is_given_up(gap.requests, gap.runs):
        which = f"--epoch {gap.epoch.hex()} --first {gap.first} --last {gap.last}"
        parts.append(f"It is not asked any more; to ask again: tryggport reception resend {gap.gateway} {which}")
    return " ".join(parts)


def _conditions(tx: Connection, places: Mapping[str, Place]) -> Iterator[Finding]:
    for condition in standing(tx, list(places)):
        place = places[condition.gateway]
        sentence = condition.sentence.format(sensor=condition.sensor or "", place=place.name)
        key = f":{condition.sensor}" if condition.sensor else ""
        yield place.finding(condition.kind, sentence, key=key, since_ms=condition.since_ms)


def _untested(tx: Connection, places: Mapping[str, Place], now_ms: int, limits: Limits) -> Iterator[Finding]:
    """An alarm that came through, a test or not, shows that alarms come through."""
    newest = select(events.c.gateway, func.max(events.c.received_ms)).where(text("alarm")).group_by(events.c.gateway)
    tested: dict[str, int] = {gateway: last_ms for gateway, last_ms in tx.execute(newest)}
    for gateway, place in places.items():
        days = place.row.untested_days or limits.untested_days
        last_ms = max(tested.get(gateway, 0), place.row.from_ms)
        if now_ms - last_ms >= days * DAY_MS:
            sentence = f"{place.name} has sent no test alarm for {days} days. Ask the home to press the button."
            yield place.finding("untested", sentence, since_ms=last_ms)


def _clones(tx: Connection, places: Mapping[str, Place], now_ms: int, limits: Limits) -> Iterator[Finding]:
    for gateway, returns in sessions.returns_by_gateway(tx, now_ms - limits.clone_ms).items():
        if returns >= CLONE_RETURNS and gateway != CANARY:
            place = places.get(gateway, Place(gateway))
            sentence = f"two boxes speak as {place.name}. One is a copy: find it, and give the home a new gateway."
            yield place.finding("clone", sentence)


def _homeless(tx: Connection, states: Sequence[Any], places: Mapping[str, Place]) -> Iterator[Finding]:
    """Gateways that are heard and serve no home: nobody would know where to go."""
    distrusted = set(tx.execute(select(revoked.c.gateway)).scalars())
    loose = (cases.c.installation_id.is_(None)) & (cases.c.status != CLOSED) & (cases.c.about.is_(None))
    waiting = set(tx.execute(select(cases.c.gateway).where(loose)).scalars())
    alive = {state.gateway for state in states if state.online}
    for gateway in sorted((alive | waiting) - places.keys()):
        if gateway in distrusted:
            sentence = f"the revoked gateway {gateway} is still in use. Take it away."
            yield Place(gateway).finding("revoked", sentence)
        else:
            sentence = f"nobody has said which home the gateway {gateway} serves. Say it: tryggport registry import"
            yield Place(gateway).finding("unassigned", sentence)


def _unanswered(tx: Connection, now_ms: int) -> Iterator[Finding]:
    unheard = {
        id: since_ms for id, since_ms in case_book.unheard(tx).items() if now_ms - since_ms >= case_book.UNDELIVERED_MS
    }
    open_ones = ((cases.c.unanswered_ms.is_not(None)) & (cases.c.status == "new")) | cases.c.id.in_(unheard)
    query = select(cases, installations.c.home)
    query = query.join(installations, installations.c.id == cases.c.installation_id, isouter=True).where(open_ones)
    for case in tx.execute(query.order_by(cases.c.id)):
        yield Finding(
            key=f"unanswered:{case.id}", kind="unanswered", municipality_id=case.municipality_id, home=case.home,
            gateway=case.gateway or None, since_ms=unheard.get(case.id, case.opened_ms),
            sentence=f"An alarm has come since {case.taken_by} took case {case.id}, and nobody has confirmed it. Look at it now."
            if case.id in unheard
            else f"Nobody has taken case {case.id}, and everybody on the list was told. Take it now.",
        )  # fmt: skip


def _not_stored(tx: Connection, places: Mapping[str, Place]) -> Iterator[Finding]:
    """Until a version of this program has stored it: the gateway goes on sending it (TP-REC-205)."""
    stored = exists().where(events.c.gateway == unreadable.c.gateway, events.c.sha256 == unreadable.c.sha256)
    query = select(unreadable.c.gateway, func.count(), func.min(unreadable.c.received_ms))
    query = query.where(unreadable.c.why.startswith(NOT_STORED), ~stored).group_by(unreadable.c.gateway)
    for gateway, count, since_ms in tx.execute(query):
        place = places.get(gateway, Place(gateway))
        what = "an event" if count == 1 else f"{count} events"
        sentence = f"{what} of {place.name} could not be stored, by a fault in this program. Look at it, and report it: tryggport reception status"
        yield place.finding("not stored", sentence, since_ms=since_ms)


def _canary(tx: Connection, now_ms: int, limits: Limits) -> Iterator[Finding]:
    last_ms = vital.last(tx, vital.CANARY)
    if last_ms is not None and now_ms - last_ms >= limits.canary_ms:
        sentence = (
            "The reception's own test alarm does not come through: alarms may not arrive. Look at the broker now."
        )
        yield Finding(key="canary", kind="canary", sentence=sentence, since_ms=last_ms)
