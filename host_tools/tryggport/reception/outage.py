"""A regional outage is one case: many gateways of a municipality or area that fall silent together share a cause (TP-REC-015)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, insert, select

from tryggport.reception import ledger
from tryggport.reception.findings import Finding, Limits
from tryggport.reception.schema import CLOSED, NEW, cases, installations, municipalities, work

KIND = "outage"
WHO = "supervision"
_Region = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage that has just been seen, and needs its case."""

    key: str
    municipality_id: int
    about: str


def gather(tx: Connection, found: Sequence[Finding], now_ms: int, limits: Limits) -> tuple[list[Finding], list[Outage]]:
    """The findings; those of gateways in an outage are part of its one finding. And the outages that are new.

    An area is judged first, then what is left of the municipality. An outage lasts while two of its gateways are silent.
    """
    singles = {finding.key: finding for finding in found}
    sizes = _sizes(tx)
    rows = tx.execute(select(work.c.finding, work.c.first_ms).where(work.c.kind == KIND, work.c.mended_ms.is_(None)))
    standing: dict[str, int] = {key: first_ms for key, first_ms in rows}
    whole: list[Finding] = []
    new: list[Outage] = []
    for wide in (False, True):
        for region, members in _silent(singles.values(), wide).items():
            key = _key(region)
            since_ms = _began(members, sizes[region], limits)
            if key in standing:
                since_ms = standing[key] - limits.silent_ms - limits.outage_window_ms
            inside = [f for f in members if since_ms is not None and (f.since_ms or 0) >= since_ms]
            if len(inside) < 2:
                continue
            singles |= {f.key: replace(f, part_of=key) for f in inside}
            where = _name(tx, region)
            whole.append(_finding(key, where, inside, now_ms))
            if key not in standing:
                about = f"outage: {len(inside)} gateways in {where} fell silent together"
                new.append(Outage(key, region[0], about))
    return [*singles.values(), *whole], new


def open_case(tx: Connection, outage: Outage, now_ms: int) -> None:
    """The case of an outage, unless it has an open one."""
    is_open = (cases.c.home_key == outage.key) & (cases.c.status != CLOSED)
    if tx.execute(select(cases.c.id).where(is_open)).first():
        return
    row = {"gateway": "", "test": False, "status": NEW, "opened_ms": now_ms, "home_key": outage.key}
    row |= {"municipality_id": outage.municipality_id, "about": outage.about}
    made = tx.execute(insert(cases).values(row).returning(cases.c.id)).scalar_one()
    ledger.record(tx, WHO, outage.about, after=NEW, case_id=made, at_ms=now_ms)


def _silent(found: Iterable[Finding], wide: bool) -> dict[_Region, list[Finding]]:
    """The silent gateways that are in no outage yet, by area or by municipality."""
    silent: dict[_Region, list[Finding]] = defaultdict(list)
    for finding in found:
        if finding.kind == "silent" and not finding.part_of and (wide or finding.area):
            silent[finding.municipality_id or 0, "" if wide else finding.area or ""].append(finding)
    return silent


def _sizes(tx: Connection) -> dict[_Region, int]:
    """How many gateways serve homes of each area, and (area "") of each municipality."""
    columns = (installations.c.municipality_id, installations.c.area, func.count())
    query = select(*columns).where(installations.c.to_ms.is_(None))
    sizes: dict[_Region, int] = defaultdict(int)
    for owner, area, count in tx.execute(query.group_by(installations.c.municipality_id, installations.c.area)):
        sizes[owner, ""] += count
        if area:
            sizes[owner, area] += count
    return sizes


def _began(members: Sequence[Finding], size: int, limits: Limits) -> int | None:
    """When enough of them, of all there are, went silent within one window; None: they did not."""
    needed = max(limits.outage_gateways, limits.outage_share * size)
    times = sorted(finding.since_ms or 0 for finding in members)
    first = 0
    for last, at_ms in enumerate(times):
        while at_ms - times[first] > limits.outage_window_ms:
            first += 1
        if last - first + 1 >= needed:
            return times[first]
    return None


def _name(tx: Connection, region: _Region) -> str:
    owner, area = region
    name = tx.execute(select(municipalities.c.name).where(municipalities.c.id == owner)).scalar_one()
    return f"{area}, {name}" if area else str(name)


def _finding(key: str, where: str, members: Sequence[Finding], now_ms: int) -> Finding:
    sentence = f"{len(members)} gateways in {where} are silent since an outage. Ask the network and power companies."
    since_ms = min(finding.since_ms or now_ms for finding in members)
    return replace(members[0], key=key, kind=KIND, sentence=sentence, home=None, gateway=None, since_ms=since_ms)


def _key(region: _Region) -> str:
    return f"outage/{region[0]}/{region[1]}"
