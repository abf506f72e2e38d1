"""The host's end of the hub: requests of the firmware's modules, replies, and events of the hardware.

Request: 16 bytes (operation, argument, sequence number, a, b, payload length), then the payload as a datagram of its own.
Reply or event: 8 bytes (kind, argument, sequence number, value), then the data. No datagram of data is as short as a header;
shorter data is padded. boards/virtual/modules/_hub.py is the other end.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from enum import IntEnum

_REQUEST = struct.Struct("<BBHIII")
_REPLY = struct.Struct("<BBHi")
_OK, _DATA, _ERROR, _EVENT = 1, 2, 3, 4
_LARGEST = 1 << 17
KEYBOARD = 255  # the number of an event that is no pin: Ctrl-C was typed

Result = int | bytes | None


class Op(IntEnum):
    HELLO = 1
    BOOTED = 2
    RESET = 3
    STEP = 4
    PIN_MODE = 5
    PIN_GET = 6
    PIN_SET = 7
    PIN_IRQ = 8
    PWM = 9
    I2C_SCAN = 10
    I2C_WRITE = 11
    I2C_READ = 12
    WDT = 13
    RTC_SET = 14
    PARTITIONS = 15
    FLASH_PROGRAM = 17
    FLASH_ERASE = 18
    NVS_SET = 19
    NVS_GET = 20
    NVS_ERASE = 21
    LINK = 22
    ROUTE = 23
    INTERRUPT = 24


class Later(Exception):  # noqa: N818
    """Raised by a handler that answers later, or never: it takes the request's `reply`."""


class Request:
    """What the firmware asks: `op`, `arg` (8 bits), `a` and `b` (32 bits), `data`."""

    def __init__(self, hub: Hub, op: Op, arg: int, seq: int, a: int, b: int) -> None:
        self.op, self.arg, self.a, self.b = op, arg, a, b
        self.data = b""
        self._hub = hub
        self._seq = seq

    def reply(self, result: Result) -> None:
        self._hub.send(self._seq, result)

    def fail(self, number: int) -> None:
        self._hub.send_error(self._seq, number)


class Hub:
    """Serves one child. `handle(request)` returns the result, raises OSError for the firmware, or Later."""

    def __init__(self, wire: socket.socket, handle: Callable[[Request], Result]) -> None:
        self._wire = wire
        self._handle = handle
        self._buffer = bytearray(_LARGEST)
        self._waiting: Request | None = None
        self._payload = 0
        self.open = True

    def on_readable(self) -> None:
        try:
            n = self._wire.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            n = 0
        if n == 0:
            self.open = False
            return
        request = self._take(n)
        if request is None:
            return
        try:
            self.send(request._seq, self._handle(request))
        except Later:
            pass
        except OSError as e:
            self.send_error(request._seq, e.errno or errno.EIO)

    def _take(self, n: int) -> Request | None:
        """The request that is complete with the datagram just read."""
        if n == _REQUEST.size:
            op, arg, seq, a, b, self._payload = _REQUEST.unpack_from(self._buffer)
            request = Request(self, Op(op), arg, seq, a, b)
            self._waiting = request if self._payload else None
            return None if self._payload else request
        request, self._waiting = self._waiting, None  # type: ignore[assignment]
        if request is not None:
            request.data = bytes(memoryview(self._buffer)[: self._payload])
        return request

    def send(self, seq: int, result: Result) -> None:
        if not self.open:
            return
        if isinstance(result, bytes | bytearray):
            self._put(_REPLY.pack(_DATA, 0, seq, len(result)))
            if result:
                self._put(result.ljust(_REPLY.size + 1, b"\0"))
        else:
            self._put(_REPLY.pack(_OK, 0, seq, result or 0))

    def send_error(self, seq: int, number: int) -> None:
        if self.open:
            self._put(_REPLY.pack(_ERROR, 0, seq, number))

    def event(self, number: int, value: int) -> None:
        """Tell the child that something happened. Lost when it has not listened for hundreds of events, as an interrupt is."""
        try:
            self._wire.send(_REPLY.pack(_EVENT, number, 0, value), socket.MSG_DONTWAIT)
        except OSError:
            pass

    def _put(self, datagram: bytes) -> None:
        try:
            self._wire.send(datagram)
        except OSError:
            self.open = False
