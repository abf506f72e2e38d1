"""Commands of the receiver: what is refused, what is done (protocols/commands.md). Loaded for each, forgotten afterwards.

Invariant
  TP-CMD-005  a counter is used once in an epoch, and that is written to NVS before the command is acted on
"""

import struct

from micropython import const

from gateway import kinds
from gateway.app import log
from gateway.trace import step

_DONE = const(0)
_MALFORMED = const(1)
_UNKNOWN = const(2)
_WRONG_GATEWAY = const(3)
_WRONG_EPOCH = const(4)
_EXPIRED = const(5)
_REPLAYED = const(6)
_TOO_OLD = const(7)
_BUSY = const(9)
_PENDING_ALARMS = const(10)
_RESEND = const(1)
_RESTART = const(2)
_TEST_ALARM = const(3)
_FACTORY_RESET = const(4)
_WINDOW = const(64)  # TP-BND-022
_REQUEST = const(3)
_MAX_COUNTER = const(0x7FFFFFFFFFFFFFFF)
_KEPT = (
    "orders",
    "asked",
)  # in NVS, of commands and of requests: epoch, highest counter, which of the 64 up to it were used


def admit(kept, epoch, counter):
    """(code, what to keep in NVS) for a command's counter. `kept`: what was kept last, or None.

    The window is that of IPsec (RFC 4303 section 3.4.3): the highest counter used, and which of the 64 up to it were.
    """
    top, used = struct.unpack(">QQ", kept[8:]) if kept and kept[:8] == epoch else (counter, 0)
    if counter > top:
        used = (used << counter - top) & 0xFFFFFFFFFFFFFFFF if counter - top < _WINDOW else 0
        top = counter
    behind = top - counter
    if behind >= _WINDOW:
        return _TOO_OLD, kept
    if used >> behind & 1:
        return _REPLAYED, kept
    return _DONE, epoch + struct.pack(">QQ", top, used | 1 << behind)


async def take(app, kind, command, _):
    """Carries out a command, or says why not. Returns what is to be called when the result is out, or None.

    A request (TP-REC-280) comes from whoever signs receipts, and may be `resend` only; its counter uses up none of the commands.
    """
    if type(command) is not dict or not _is_uint(command.get(3)) or command[3] > _MAX_COUNTER:
        raise ValueError("malformed")
    what, arguments = command.get(4), command.get(5, [])
    if kind == _REQUEST and what != _RESEND:
        raise ValueError("not to be requested")
    name = _KEPT[kind == _REQUEST]
    code = _objection(app, command)
    if code == _DONE and what not in _ACTIONS:
        code = _UNKNOWN
    if code == _DONE:
        code, kept = admit(app.store.get(name), command[2], command[3])
        if code == _DONE:
            app.store.put(name, kept)
            step("order.counted")
    details = then = None
    if code == _DONE:
        log("command %d" % what)
        code, details, then = await _ACTIONS[what](app, *arguments)
    from gateway import results

    results.answer(app, kind, command[3], code, details)
    return then


def _objection(app, command):
    if any(type(key) is not int or key < 1 or 6 < key < 16 for key in command):
        return _MALFORMED
    if not _is_uint(command.get(4)) or type(command.get(5, [])) is not list or not _is_uint(command.get(6, 0)):
        return _MALFORMED
    if command.get(1) != app.config.gateway:
        return _WRONG_GATEWAY
    if command.get(2) != app.journal.epoch:
        return _WRONG_EPOCH
    synced = app.clock.quality() == kinds.QUALITY_SYNCED
    return _EXPIRED if 6 in command and synced and app.clock.utc_ms() > command[6] else _DONE


def _is_uint(value):
    return type(value) is int and value >= 0


async def _resend(app, epoch=None, first=None, last=None, *rest):
    from gateway import resend

    if (
        type(epoch) is not bytes
        or not _is_uint(first)
        or not _is_uint(last)
        or rest
        or not resend.possible(first, last)
    ):
        return _MALFORMED, None, None
    covered, missing, held = await resend.find(app.journal, epoch, first, last)
    if not resend.fits(app.uplink, held):
        return _BUSY, None, None
    details = {1: covered, 2: missing, 3: sum(b - a + 1 for a, b in held)}
    return _DONE, details, lambda: resend.add(app.uplink, held)  # after the result: there is no heap for both at once


async def _restart(app, *rest):
    return (_MALFORMED, None, None) if rest else (_DONE, None, _reset)


async def _test_alarm(app, *rest):
    if rest:
        return _MALFORMED, None, None
    return _DONE, {1: app.record(kinds.HELP, sensor="command", location=app.config.location, test=True)}, None


async def _factory_reset(app, forced=None, *rest):
    if type(forced) is not bool or rest:
        return _MALFORMED, None, None
    if app.journal.stats()["pending_alarms"] and not forced:
        return _PENDING_ALARMS, None, None
    return _DONE, None, lambda: _wipe(app.store)


def _wipe(store):
    from gateway import wipe

    wipe.begin(store)  # it is done at the power-on that follows, where nothing else is at work
    _reset()


def _reset():
    import machine

    machine.reset()


_ACTIONS = {_RESEND: _resend, _RESTART: _restart, _TEST_ALARM: _test_alarm, _FACTORY_RESET: _factory_reset}
