"""Deterministic CBOR (RFC 8949 section 4.2.1) of plain values: int, str, bytes, bool, None, float, list, dict.

Tags, undefined and other simple values have no place on this wire and are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2

PLAIN = frozenset((int, str, bytes, bool, type(None), float))
_SIMPLE = frozenset((str, bytes, bool, type(None)))  # in order, whatever their value
LARGEST = 2**64 - 1
MAX_DEPTH = 16


class CborError(ValueError):
    """Not deterministic CBOR of plain values."""


def encode(value: Any) -> bytes:
    """The deterministic encoding of `value`."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> Any:
    """The plain value that `data` is the deterministic encoding of.

    Raises CborError for anything else: trailing bytes, long integers, indefinite lengths, unsorted or doubled keys, tags.
    """
    return _checked(data, _again)


def decode_array(data: bytes) -> list[tuple[Any, bytes]]:
    """The items of the array in `data`, each with its own exact bytes. Raises CborError as `decode` does."""
    slices: list[bytes] = []

    def again(items: Any, in_order: bool) -> bytes:
        if type(items) is not list:
            raise CborError("not an array")
        slices.extend(_again(item, in_order) for item in items)
        return head(4, len(items)) + b"".join(slices)

    return list(zip(_checked(data, again), slices, strict=True))


def head(major: int, argument: int) -> bytes:
    """The shortest initial bytes of a data item (RFC 8949 section 3)."""
    if argument < 24:
        return bytes((major << 5 | argument,))
    for extra, size in enumerate((1, 2, 4, 8)):
        if argument < 1 << 8 * size:
            return bytes((major << 5 | 24 + extra,)) + argument.to_bytes(size, "big")
    raise CborError("an argument over 64 bits")


def _again(value: Any, in_order: bool) -> bytes:
    """The deterministic encoding; to sort what is `in_order` already would take twice the time."""
    return cbor2.dumps(value) if in_order else encode(value)


def _checked(data: bytes, encode_again: Callable[[Any, bool], bytes]) -> Any:
    try:
        value = cbor2.loads(data, max_depth=MAX_DEPTH)
        same = encode_again(value, _in_order(value)) == data
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as e:
        raise CborError(f"not CBOR of plain values: {e}") from None
    if not same:
        raise CborError("not deterministic CBOR")
    return value


def _in_order(value: Any) -> bool:
    """Whether all keys are unsigned integers that rise, and nothing is a float, whose shortest form is to be found. Raises
    CborError for what is not plain."""
    kind = type(value)
    if kind is list:
        return all([_in_order(item) for item in value])
    if kind is not dict:
        if kind not in PLAIN or (kind is int and not -LARGEST - 1 <= value <= LARGEST):
            raise CborError(f"{kind.__name__} has no place on the wire")
        return kind is not float
    before, in_order = -1, True
    for key, item in value.items():
        if type(key) is int and before < key <= LARGEST:
            before = key
        else:
            _in_order(key)  # plain at least
            in_order = False
        if type(item) not in _SIMPLE:
            in_order = _in_order(item) and in_order
    return in_order
