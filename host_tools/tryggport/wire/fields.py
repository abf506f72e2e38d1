"""Checks of single fields, shared by the payload types of tryggport.cddl."""

from __future__ import annotations

from typing import Any

from tryggport.errors import TryggError
from tryggport.wire.topics import GATEWAY_ID

SEQ_MAX = 2**32 - 1
UINT_MAX = 2**64 - 1
UTC_MS_MIN = 946_684_800_000
UTC_MS_MAX = 32_503_680_000_000
LAST_KNOWN_KEY = 15


class PayloadError(TryggError):
    """A payload that is not what protocols/tryggport.cddl says."""


def refuse(what: str) -> PayloadError:
    return PayloadError(f"Not a payload of the wire: {what}.")


def mapping(value: Any, what: str) -> dict[Any, Any]:
    if type(value) is not dict:
        raise refuse(f"{what} is not a map")
    return value


def uint(fields: dict[Any, Any], key: int, low: int = 0, high: int = UINT_MAX) -> int:
    value = fields.get(key)
    if type(value) is not int or not low <= value <= high:
        raise refuse(f"field {key} is not an integer of {low}…{high}")
    return value


def optional_uint(fields: dict[Any, Any], key: int, low: int = 0, high: int = UINT_MAX) -> int | None:
    return uint(fields, key, low, high) if key in fields else None


def boolean(fields: dict[Any, Any], key: int) -> bool:
    value = fields.get(key)
    if type(value) is not bool:
        raise refuse(f"field {key} is not a boolean")
    return value


def octets(value: Any, size: int, what: str) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise refuse(f"{what} is not {size} bytes")
    return value


def text(fields: dict[Any, Any], key: int, low: int, high: int) -> str:
    value = fields.get(key)
    if type(value) is not str or not low <= len(value.encode()) <= high:
        raise refuse(f"field {key} is not a text of {low}…{high} bytes")
    return value


def gateway_id(fields: dict[Any, Any]) -> str:
    value = fields.get(1)
    if type(value) is not str or not GATEWAY_ID.match(value):
        raise refuse("field 1 is not a gateway id")
    return value


def known_keys(fields: dict[Any, Any], highest: int) -> None:
    """Keys must be unsigned; those up to 15 must be in the table, those above belong to a later version (TP-WIR-010)."""
    for key in fields:
        if type(key) is not int or key < 1 or highest < key <= LAST_KNOWN_KEY:
            raise refuse(f"map key {key!r} is not known")
