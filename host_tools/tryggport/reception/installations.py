"""Which gateway serves which home: installations from–to. Rows are closed and never changed, so history stays with the home."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from tryggport.errors import TryggError
from tryggport.reception import ledger, lists
from tryggport.reception.schema import CLOSED, cases, events, installations, municipalities, revoked, statuses
from tryggport.reception.tenants import Scope, municipality_id
from tryggport.wire.topics import GATEWAY_ID

CANARY = "reception-canary"  # the reception's own gateway lives in no home
_HOME = re.compile(r"[A-Za-z0-9ÆØÅæøå._-]{1,32}\Z")
_CID = re.compile(r"[0-9]{1,16}\Z")  # SCAIP: controller identity
_CALL_BACK = re.compile(r"(\+?[0-9]{3,15}|sips?:\S{1,27})\Z")


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a gateway is now."""

    installation_id: int
    municipality_id: int
    home: str

    @property
    def home_key(self) -> str:
        return f"{self.municipality_id}/{self.home}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """An installation as the municipality writes it down. `home` is a pseudonym; `cid` and `call_back` are SCAIP's."""

    home: str
    gateway: str
    cid: str | None = None
    call_back: str | None = None
    area: str | None = None

    def check(self) -> None:
        """Raises TryggError for the first field that cannot be."""
        if not _HOME.match(self.home):
            raise TryggError(f"{self.home!r} is not a home's pseudonym.", "1 to 32 letters, digits, . _ -", usage=True)
        if len(self.home) >= 11 and self.home[:11].isdecimal():
            raise TryggError("A national identity number is no pseudonym.", "Give the home another one.", usage=True)
        if not GATEWAY_ID.match(self.gateway) or self.gateway == CANARY:
            raise TryggError(f"{self.gateway!r} is not a gateway id.", "4 to 24 of a-z, 0-9 and hyphen.", usage=True)
        if self.cid is not None and not _CID.match(self.cid):
            raise TryggError(f"{self.cid!r} is not a SCAIP controller identity.", "1 to 16 digits.", usage=True)
        if self.call_back is not None and not _CALL_BACK.match(self.call_back):
            raise TryggError(f"{self.call_back!r} is not a call-back number.", "Digits, or a sip: address.", usage=True)
        if self.area is not None and len(self.area) > 32:
            raise TryggError(f"The area {self.area!r} is longer than 32 letters.", usage=True)


def add_municipality(
    scope: Scope, name: str, by: str, *, oldest_firmware: str | None = None, untested_days: int | None = None
) -> None:
    """A new tenant. Raises TryggError when it is there already or `scope` is not the centre's."""
    if scope.municipality_id is not None:
        raise TryggError("Only the alarm centre adds municipalities.")
    if not name.strip() or len(name) > 64:
        raise TryggError("A municipality has a name of 1 to 64 letters.", usage=True)
    with scope.database.write() as tx:
        if tx.execute(select(municipalities.c.id).where(municipalities.c.name == name)).first():
            raise TryggError(f"The municipality {name} is there already.")
        values = {"name": name, "oldest_firmware": oldest_firmware, "untested_days": untested_days}
        made = tx.execute(insert(municipalities).values(values).returning(municipalities.c.id)).scalar_one()
        ledger.record(tx, by, "municipality added", after=name, municipality_id=made)


def placed(tx: Connection, gateways: Iterable[str]) -> dict[str, Placed]:
    """Where these gateways are now; those that serve no home are left out."""
    columns = (installations.c.gateway, installations.c.id, installations.c.municipality_id, installations.c.home)
    now = installations.c.to_ms.is_(None) & installations.c.gateway.in_(set(gateways))
    return {gateway: Placed(*where) for gateway, *where in tx.execute(select(*columns).where(now))}


def assign(scope: Scope, name: str, placement: Placement, by: str, at_ms: int) -> bool:
    """The gateway serves that home of the municipality `name` from now on; False when it is so already. Raises TryggError."""
    placement.check()
    with scope.database.write() as tx:
        return assign_in(tx, _allowed(scope, tx, name), placement, by, at_ms)


def assign_in(tx: Connection, owner: int, placement: Placement, by: str, at_ms: int) -> bool:
    """`assign` within a transaction; `placement` has been checked."""
    if tx.execute(select(revoked.c.gateway).where(revoked.c.gateway == placement.gateway)).first():
        raise TryggError(f"The gateway {placement.gateway} is revoked.", "Provision the box anew under another id.")
    now = installations.c.to_ms.is_(None)
    current = tx.execute(select(installations).where(now, installations.c.gateway == placement.gateway)).first()
    wanted: dict[str, Any] = {"municipality_id": owner, "home": placement.home, "cid": placement.cid}
    wanted |= {"call_back": placement.call_back, "area": placement.area}
    if current is not None:
        if (current.municipality_id, current.home) != (owner, placement.home):
            where = f"home {current.home}" if current.municipality_id == owner else "another municipality"
            raise TryggError(f"The gateway {placement.gateway} serves {where} already.", "End that first.")
        if all(getattr(current, column) == value for column, value in wanted.items()):
            return False
        tx.execute(update(installations).where(installations.c.id == current.id).values(to_ms=at_ms))
    if placement.cid is not None:
        _check_cid(tx, owner, placement)
    _install(tx, placement, wanted, by, at_ms)
    return True


def replace(scope: Scope, gateway: str, by_gateway: str, by: str, at_ms: int) -> None:
    """Another gateway serves the home from now on; the history stays with the home. Raises TryggError."""
    with scope.database.write() as tx:
        old = _current(scope, tx, gateway)
        placement = Placement(home=old.home, gateway=by_gateway, cid=old.cid, call_back=old.call_back, area=old.area)
        placement.check()
        if gateway == by_gateway:
            raise TryggError("A gateway cannot replace itself.", usage=True)
        _end(tx, old, by, at_ms, f"replaced by {by_gateway}")
        assign_in(tx, old.municipality_id, placement, by, at_ms)


def revoke(scope: Scope, gateway: str, by: str, why: str, at_ms: int) -> None:
    """What the gateway sends from now on is quarantined, and it serves no home. Raises TryggError."""
    with scope.database.write() as tx:
        old = None if scope.municipality_id is None else _current(scope, tx, gateway)
        if tx.execute(select(revoked.c.gateway).where(revoked.c.gateway == gateway)).first():
            raise TryggError(f"The gateway {gateway} is revoked already.")
        tx.execute(insert(revoked).values(gateway=gateway, at_ms=at_ms, by=by, why=why))
        now = installations.c.to_ms.is_(None) & (installations.c.gateway == gateway)
        old = old or tx.execute(select(installations).where(now)).first()
        if old is None and not _known(tx, gateway):
            raise TryggError(f"No gateway {gateway} serves a home or has been heard.", "Is the id right?")
        if old is not None:
            _end(tx, old, by, at_ms, f"revoked: {why}")
        else:
            ledger.record(tx, by, f"gateway {gateway} revoked: {why}", at_ms=at_ms)


def _known(tx: Connection, gateway: str) -> bool:
    """Whether it ever served a home or was heard."""
    served = select(installations.c.gateway).where(installations.c.gateway == gateway)
    heard = select(statuses.c.gateway).where(statuses.c.gateway == gateway)
    return tx.execute(served.union(heard)).first() is not None


def is_revoked(tx: Connection, gateways: Iterable[str]) -> set[str]:
    return set(tx.execute(select(revoked.c.gateway).where(revoked.c.gateway.in_(set(gateways)))).scalars())


def _allowed(scope: Scope, tx: Connection, name: str) -> int:
    owner = municipality_id(tx, name)
    if scope.municipality_id not in (None, owner):
        raise TryggError(f"There is no municipality {name}.")
    return owner


def _current(scope: Scope, tx: Connection, gateway: str) -> Any:
    now = installations.c.to_ms.is_(None) & (installations.c.gateway == gateway)
    row = tx.execute(select(installations).where(now, scope.of(installations))).first()
    if row is None:
        raise TryggError(f"The gateway {gateway} serves no home.", "See them all: tryggport registry list")
    return row


def _check_cid(tx: Connection, owner: int, placement: Placement) -> None:
    """Two homes with one controller identity could not be told apart at the centre."""
    same = installations.c.to_ms.is_(None) & (installations.c.cid == placement.cid)
    for row in tx.execute(select(installations).where(same)):
        if (row.municipality_id, row.home) != (owner, placement.home):
            raise TryggError(f"The controller identity {placement.cid} belongs to another home.")


def _install(tx: Connection, placement: Placement, wanted: dict[str, Any], by: str, at_ms: int) -> None:
    row = wanted | {"gateway": placement.gateway, "from_ms": at_ms}
    made = tx.execute(insert(installations).values(row).returning(installations.c.id)).scalar_one()
    owner = wanted["municipality_id"]
    ledger.record(
        tx, by, f"gateway {placement.gateway} serves home {placement.home}", after=placement.gateway,
        at_ms=at_ms, municipality_id=owner,
    )  # fmt: skip
    _adopt_open_cases(tx, Placed(made, owner, placement.home), placement.gateway, by, at_ms)


def _adopt_open_cases(tx: Connection, to: Placed, gateway: str, by: str, at_ms: int) -> None:
    """Alarms that came before anybody had said where the gateway is become those of its home."""
    loose = (cases.c.home_key == gateway) & (cases.c.status != CLOSED)
    for case in tx.execute(select(cases.c.id, cases.c.test, cases.c.municipality_id).where(loose)).all():
        has_one = (cases.c.home_key == to.home_key) & (cases.c.test == case.test) & (cases.c.status != CLOSED)
        values: dict[str, Any] = {"municipality_id": to.municipality_id, "installation_id": to.installation_id}
        if not tx.execute(select(cases.c.id).where(has_one)).first():
            values |= {"home_key": to.home_key}
        tx.execute(update(cases).where(cases.c.id == case.id).values(values))
        before, after = lists.steps_of(tx, case.municipality_id), lists.steps_of(tx, to.municipality_id)
        lists.begin_anew(tx, cases.c.id == case.id, before, after)
        tx.execute(update(events).where(events.c.case_id == case.id).values(municipality_id=to.municipality_id))
        ledger.record(tx, by, f"found to be of home {to.home}", case_id=case.id, at_ms=at_ms)


def _end(tx: Connection, row: Any, by: str, at_ms: int, why: str) -> None:
    tx.execute(update(installations).where(installations.c.id == row.id).values(to_ms=at_ms))
    what = f"gateway {row.gateway} left home {row.home}: {why}"
    ledger.record(tx, by, what, before=row.gateway, at_ms=at_ms, municipality_id=row.municipality_id)
