"""The wire to the hardware, which lives in the board host: request and reply datagrams over the inherited descriptor 3.

Every request, reply and event is one datagram with a sequence number, so an exception at any instant (Ctrl-C) leaves nothing
out of step: the reply to an abandoned request is recognised and dropped. A datagram of data follows its header and is never
as short as a header. Each module names the operations that it uses, by the numbers of `Op` in host_tools/tryggport/board/hub.py.
"""

import struct
import sys

import uselect
from micropython import const

_OK = const(1)
_DATA = const(2)
_ERROR = const(3)
_EVENT = const(4)
_SHORTEST_DATA = const(17)
_INTERRUPT = const(24)
_KEYBOARD = const(255)

wire = open(3, "r+b")  # noqa: SIM115
handlers = {}
rtc_offset_ms = 0

_poll = uselect.poll()
_poll.register(wire, uselect.POLLIN)
_request = bytearray(16)
_reply = bytearray(8)
_events = []
_seq = 0
_dispatching = False


def call(op, arg=0, a=0, b=0, data=None, into=None):
    """One request. Returns the reply's number, or its data (in `into` when given). Raises OSError."""
    global _seq
    _seq = seq = (_seq + 1) & 0xFFFF
    if isinstance(data, str):
        data = data.encode()
    n = len(data) if data else 0
    struct.pack_into("<BBHIII", _request, 0, op, arg, seq, a, b, n)
    wire.write(_request)
    if n:
        wire.write(data if n >= _SHORTEST_DATA else bytes(data) + bytes(_SHORTEST_DATA - n))
    while True:
        wire.readinto(_reply)
        kind, _, answered, value = struct.unpack("<BBHi", _reply)
        if kind == _EVENT:
            _events.append((_reply[1], value))
        elif answered == seq and kind <= _ERROR:
            break
    if kind == _DATA:
        result = bytearray(value) if into is None else into
        if value:
            wire.readinto(result)
    elif kind == _ERROR:
        raise OSError(value)
    else:
        result = value
    if _events:
        _dispatch()
    return result


def pump():
    """Take in what the hardware has reported and run the handlers."""
    for _ in _poll.ipoll(0):
        wire.readinto(_reply)
        if _reply[0] == _EVENT:
            _events.append((_reply[1], struct.unpack_from("<i", _reply, 4)[0]))
    if _events:
        _dispatch()


def wait(timeout_ms):
    """Sleep at most `timeout_ms`; an event ends it early."""
    for _ in _poll.ipoll(timeout_ms):
        pass
    pump()


def _dispatch():
    global _dispatching
    if _dispatching:
        return
    _dispatching = True
    try:
        while _events:
            number, value = _events.pop(0)
            handler = handlers.get(number)
            if handler:
                try:
                    handler(value)
                except Exception as e:
                    sys.print_exception(e)
    finally:
        _dispatching = False


def _interrupt(_):
    """Ctrl-C was typed, and is not too late: the host would have sent a signal, or has seen the prompt."""
    if call(_INTERRUPT):
        raise KeyboardInterrupt


handlers[_KEYBOARD] = _interrupt
