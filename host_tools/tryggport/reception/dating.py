"""When an event happened, by its gateway's clock as far as that can be believed (TP-WIR-047 to TP-WIR-049).

A gateway orders what happens by boot and uptime; UTC comes later, from a receipt or a time server, and may be wrong. One row a boot
ties its uptime to UTC: `base_ms`, the UTC at uptime 0. The time of an event is worked out when somebody looks, so that a better
clock event dates all of its boot anew and nothing that is stored has to change.

    previous boot's last event <= base_ms <= received_ms - uptime_ms of every event of the boot, next boot's begin - last uptime
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, select
from sqlalchemy.dialects import postgresql, sqlite

from tryggport.reception.schema import boots
from tryggport.wire import kinds
from tryggport.wire.event import Event

AHEAD_MS = 300_000  # TP-BND-075: two clocks may differ by this
OLDEST_MS = 366 * 86_400_000  # TP-BND-076: the longest that an event waits in a journal
UPTIME_MAX_MS = 36_600 * 86_400_000  # no board runs for a century: such an event tells nothing of its boot
COLUMN_MAX = 2**63 - 1

# How well a boot is tied to UTC: by nothing, by a time that no receipt confirmed, such a time was taken back, by an event of a
# gateway that a receipt had told the time, by its clock event.
NOTHING, UNCONFIRMED, TAKEN_BACK, SYNCED, CLOCK_EVENT = range(5)
CLOCK, ABOUT, BETWEEN, BEFORE = "clock", "about", "between", "before"


@dataclass(frozen=True, slots=True)
class Happened:
    """`how`: by the event's own clock, about (by its boot's), between two times, or before one. Unix time in ms, ends included.

    `utc_refused`: the event carries a UTC that is not believed.
    """

    how: str
    earliest_ms: int | None
    latest_ms: int
    utc_refused: bool = False


@dataclass(frozen=True, slots=True)
class Boot:
    """What is known of a boot's UTC at uptime 0: itself, or what it lies between."""

    tie: int
    base_ms: int | None
    earliest_ms: int | None
    latest_ms: int


def note(tx: Connection, found: Iterable[Event], at_ms: int) -> None:
    """Takes in what new events, received at `at_ms`, tell of their boots; one statement."""
    rows: dict[tuple[str, bytes, int], dict[str, Any]] = {}
    for event in found:
        if event.uptime_ms > UPTIME_MAX_MS:
            continue
        row = _row(event, at_ms)
        key = (event.gateway, event.epoch, row["boot"])
        rows[key] = _joined(rows[key], row) if key in rows else row
    if not rows:
        return
    statement = postgresql.insert(boots) if tx.dialect.name == "postgresql" else sqlite.insert(boots)
    new, old = statement.excluded, boots.c
    better = (new.tie > old.tie) | ((new.tie == old.tie) & (new.tied_at_ms >= old.tied_at_ms))
    values = {name: case((better, new[name]), else_=old[name]) for name in ("tie", "tied_at_ms", "base_ms")} | {
        "latest_ms": case((new.latest_ms < old.latest_ms, new.latest_ms), else_=old.latest_ms),
        "last_ms": case((new.last_ms > old.last_ms, new.last_ms), else_=old.last_ms),
    }
    tx.execute(
        statement.on_conflict_do_update(index_elements=boots.primary_key.columns, set_=values), list(rows.values())
    )


def boots_of(tx: Connection, epochs: set[tuple[str, bytes]]) -> dict[tuple[str, bytes, int], Boot]:
    """What is known of all boots of these (gateway, epoch)."""
    gateways, of_these = {gateway for gateway, _ in epochs}, {epoch for _, epoch in epochs}
    query = select(boots).where(boots.c.gateway.in_(gateways), boots.c.epoch.in_(of_these)).order_by(boots.c.boot)
    by_epoch: dict[tuple[str, bytes], list[Any]] = {}
    for row in tx.execute(query).mappings() if epochs else ():
        by_epoch.setdefault((row["gateway"], row["epoch"]), []).append(row)
    return {(*key, boot): span for key, rows in by_epoch.items() for boot, span in spans(rows).items()}


def spans(rows: Sequence[Mapping[Any, Any]]) -> dict[int, Boot]:
    """The boots of one epoch by number; `rows` in their order."""
    forward: list[tuple[Mapping[Any, Any], int | None, int | None]] = []
    end: int | None = None  # of the boot before, at the earliest
    for row in rows:
        base = row["base_ms"]
        if base is not None and (base > row["latest_ms"] + AHEAD_MS or (end is not None and base < end - AHEAD_MS)):
            base = None
        forward.append((row, base, end))
        start = end if base is None else base
        end = None if start is None else start + row["last_ms"]
    found: dict[int, Boot] = {}
    next_start: int | None = None  # of the boot after, at the latest
    for row, base, earliest in reversed(forward):
        latest = row["latest_ms"]
        if next_start is not None:
            latest = min(latest, next_start - row["last_ms"])
        next_start = latest if base is None else base
        found[row["boot"]] = Boot(row["tie"], base, earliest, latest)
    return found


def happened(event: Event, received_ms: int, boot: Boot | None) -> Happened:
    """When the event happened; `boot`: what is known of its boot."""
    if event.uptime_ms > UPTIME_MAX_MS:
        boot = None
    uptime_ms = event.uptime_ms
    has_utc = event.utc_ms is not None
    if event.utc_ms is not None and believed(event, received_ms) and not _contradicted(event, boot):
        return Happened(CLOCK, event.utc_ms, event.utc_ms)
    if boot is None:
        return Happened(BEFORE, None, received_ms, has_utc)
    if boot.base_ms is not None:
        at_ms = boot.base_ms + uptime_ms
        return Happened(ABOUT, at_ms, at_ms, has_utc)
    latest = min(received_ms, boot.latest_ms + uptime_ms)
    if boot.earliest_ms is None:
        return Happened(BEFORE, None, latest, has_utc)
    return Happened(BETWEEN, min(boot.earliest_ms + uptime_ms, latest), latest, has_utc)


def unknown(received_ms: int) -> Happened:
    """When an event happened that says nothing of it."""
    return Happened(BEFORE, None, received_ms)


def believed(event: Event, received_ms: int) -> bool:
    """Whether the event's UTC may be true: not in the receiver's future, and not a year ago."""
    return event.utc_ms is not None and received_ms - OLDEST_MS <= event.utc_ms <= received_ms + AHEAD_MS


def _contradicted(event: Event, boot: Boot | None) -> bool:
    if boot is None or event.utc_ms is None:
        return False
    base = event.utc_ms - event.uptime_ms
    if base > boot.latest_ms + AHEAD_MS or (boot.earliest_ms is not None and base < boot.earliest_ms - AHEAD_MS):
        return True
    if event.quality == kinds.QUALITY_SYNCED or boot.tie < TAKEN_BACK:
        return False
    return boot.base_ms is None or abs(base - boot.base_ms) > AHEAD_MS


def _row(event: Event, at_ms: int) -> dict[str, Any]:
    uptime_ms = event.uptime_ms
    tie, base_ms = NOTHING, None
    if event.utc_ms is not None and believed(event, at_ms):
        base_ms = event.utc_ms - uptime_ms
        tie = UNCONFIRMED
        if event.quality == kinds.QUALITY_SYNCED:
            tie = CLOCK_EVENT if event.kind == kinds.CLOCK else SYNCED
    elif event.kind == kinds.CLOCK and event.quality == kinds.QUALITY_NEVER:
        tie = TAKEN_BACK
    return {
        "gateway": event.gateway, "epoch": event.epoch, "boot": min(event.boot, COLUMN_MAX), "tie": tie,
        "tied_at_ms": uptime_ms, "base_ms": base_ms, "latest_ms": at_ms - uptime_ms, "last_ms": uptime_ms,
    }  # fmt: skip


def _joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    better = (new["tie"], new["tied_at_ms"]) >= (old["tie"], old["tied_at_ms"])
    return (new if better else old) | {
        "latest_ms": min(old["latest_ms"], new["latest_ms"]),
        "last_ms": max(old["last_ms"], new["last_ms"]),
    }
