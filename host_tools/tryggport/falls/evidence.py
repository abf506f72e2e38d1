"""The evidence of falls that gateways reported, without identities, and back again as examples to learn from.

A line is one reported fall: `home` is a number that another export gives to another home; there is no gateway, no time, no name
and no free text. `fall` is 1 where the operator closed the case with the cause "fall", 0 for "false alarm", else empty, for
somebody who knows to fill in.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tryggport.errors import TryggError
from tryggport.falls.train import Example, byte_row
from tryggport.reception import Database
from tryggport.reception.schema import cases, events
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.fields import PayloadError

FEATURES = ("peak_mg", "turn_early_deg", "turn_deg", "swing_deg", "tilt_deg", "spread_mg", "rest_mg")
COLUMNS = ("home", "fall", "cancelled", "then", "then_ms", "score", *FEATURES)
_LABELS = {"fall": 1, "false alarm": 0}
_THEN = {kinds.VERDICT_RECOVERED: "recovered", kinds.VERDICT_LONG_LIE: "long_lie"}

Line = dict[str, Any]


def collect(database: Database, random_: random.Random) -> list[Line]:
    """The reported falls, tests left out, in an order that tells nothing of when they came."""
    query = (
        select(events.c.encoded, cases.c.cause)
        .join(cases, events.c.case_id == cases.c.id, isouter=True)
        .where(events.c.kind == kinds.FALL, events.c.test.is_(False))
        .order_by(events.c.id)
    )
    raised: dict[tuple[str, bytes, int], Line] = {}
    with database.read() as tx:
        for encoded, cause in tx.execute(query):
            try:
                event = Event.from_bytes(encoded)
            except PayloadError:
                continue
            _take(raised, event, cause)
    homes = sorted({gateway for gateway, _, _ in raised})
    random_.shuffle(homes)
    lines = [line | {"home": homes.index(gateway) + 1} for (gateway, _, _), line in raised.items()]
    random_.shuffle(lines)
    return lines


def text(lines: Sequence[Line]) -> str:
    """The lines as CSV."""
    file = StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def read(path: Path) -> list[Example]:
    """The labelled lines of an export as examples; each home counts as a person. TryggError for a file that is none."""
    try:
        with path.open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["fall"] in ("0", "1")]
        return [
            Example(
                -1,
                "evidence",
                f"home {line['home']}",
                byte_row([int(line[f]) for f in FEATURES]),
                line["fall"] == "1",
                True,
            )
            for line in lines
        ]
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.") from e
    except (KeyError, TypeError, ValueError) as e:
        raise TryggError(f"{path} is no export of evidence: {e!r}.", "`tryggport falls export` writes one.") from e


def _take(raised: dict[tuple[str, bytes, int], Line], event: Event, cause: str | None) -> None:
    values = event.data.get(kinds.DATA_EVIDENCE)
    if event.state == kinds.STATE_RAISED and isinstance(values, list) and len(values) == len(FEATURES) + 1:
        *features, score = values
        label = _LABELS.get((cause or "").strip().casefold(), "")
        line: Line = {"fall": label, "cancelled": 0, "then": "", "then_ms": "", "score": score}
        raised[event.gateway, event.epoch, event.seq] = line | dict(zip(FEATURES, features, strict=True))
        return
    line = raised.get((event.gateway, event.epoch, -1 if event.ref is None else event.ref), {})
    if line and event.state == kinds.STATE_CLEARED:
        line["cancelled"] = 1
    elif line and event.state == kinds.STATE_UPDATED:
        line["then"] = _THEN.get(event.data.get(kinds.DATA_VERDICT, 0), "")
        line["then_ms"] = values[0] if isinstance(values, list) and values else ""
