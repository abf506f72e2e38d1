"""The name server that a home's router would be (RFC 1035): IPv4 addresses, asked of the host."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable

ADDRESS = ("192.168.4.1", 53)
_HEADER = struct.Struct(">HHHHHH")
_ANSWERED, _NO_SUCH_NAME = 0x8180, 0x8183
_A_IN = b"\0\1\0\1"
_TTL_S = 60


def question(query: bytes) -> tuple[str, int]:
    """The name that a query asks for and where the question ends. Raises ValueError."""
    labels, at = [], _HEADER.size
    while at < len(query) and query[at]:
        if query[at] > 63:
            raise ValueError("compressed name in a question")
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii"))
        at += 1 + query[at]
    if at + 5 > len(query):
        raise ValueError("the question is cut short")
    return ".".join(labels), at + 5


async def answer(query: bytes, resolve: Callable[[str], Awaitable[list[str]]]) -> bytes:
    """The reply to one query; `resolve(name)` gives dotted quads or raises OSError. Raises ValueError for what is no query."""
    name, end = question(query)
    try:
        quads = await resolve(name) if query[end - 4 : end] == _A_IN else []
        flags = _ANSWERED
    except OSError:
        quads, flags = [], _NO_SUCH_NAME
    head = _HEADER.pack(int.from_bytes(query[:2]), flags, 1, len(quads), 0, 0)
    records = [
        b"\xc0\x0c" + _A_IN + struct.pack(">IH", _TTL_S, 4) + bytes(int(part) for part in quad.split("."))
        for quad in quads
    ]
    return head + query[_HEADER.size : end] + b"".join(records)
