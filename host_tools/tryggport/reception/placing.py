"""Installations from a CSV file: all of it or nothing, and every bad line named (TP-REC-005)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from tryggport.errors import TryggError
from tryggport.reception.installations import Placement, assign_in
from tryggport.reception.tenants import Scope, municipality_id

COLUMNS = ("home", "gateway", "cid", "call_back", "area")
NEEDED = ("home", "gateway")


@dataclass(frozen=True, slots=True)
class Imported:
    """How many lines were new and how many were so already; with `bad` lines (number, sentence) nothing was stored."""

    added: int
    unchanged: int
    bad: tuple[tuple[int, str], ...]


class _BadLinesError(Exception):
    """Takes the transaction back."""


def import_csv(scope: Scope, municipality: str, path: Path, by: str, at_ms: int) -> Imported:
    """Installs what the lines of a file say. Doing it again changes nothing. Raises TryggError for a file that cannot be read.

    Columns: home, gateway, and if wanted cid, call_back, area.
    """
    lines = _read(path)
    bad: list[tuple[int, str]] = []
    added = 0
    try:
        with scope.database.write() as tx:
            owner = municipality_id(tx, municipality)
            if scope.municipality_id not in (None, owner):
                raise TryggError(f"There is no municipality {municipality}.")
            for number, line in lines:
                try:
                    added += _place(tx, owner, line, by, at_ms)
                except TryggError as e:
                    bad.append((number, e.message))
            if bad:
                raise _BadLinesError
    except _BadLinesError:
        return Imported(0, 0, tuple(bad))
    return Imported(added, len(lines) - added, ())


def _place(tx: Connection, owner: int, line: dict[str, str], by: str, at_ms: int) -> bool:
    if None in line or None in line.values():
        raise TryggError("The line has not as many fields as the first one.")
    given = {name: value.strip() or None for name, value in line.items()}
    placement = Placement(
        home=given["home"] or "", gateway=given["gateway"] or "", cid=given.get("cid"), call_back=given.get("call_back"),
        area=given.get("area"),
    )  # fmt: skip
    placement.check()
    return assign_in(tx, owner, placement, by, at_ms)


def _read(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = tuple(reader.fieldnames or ())
            lines = [(reader.line_num, line) for line in reader if any(line.values())]
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise TryggError(f"{path} is not CSV in UTF-8.", "Save it as CSV UTF-8 in the spreadsheet.") from None
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or any(name not in names for name in NEEDED):
        hint = f"It may have {', '.join(COLUMNS)}; home and gateway it must have."
        raise TryggError(f"The first line of {path} does not name the columns: {', '.join(names)}.", hint)
    return lines
