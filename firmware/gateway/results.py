"""Tells the receiver what became of its orders. Loaded when there is something to tell, forgotten afterwards."""

import asyncio

from micropython import const

from gateway import cbor

_MAX_RESULTS = const(8)
_TOLD_MS = const(10_000)
_KEPT = const(2)  # phases of gateway.trial
_BACK = const(4)
_DONE = const(0)
_RETURNED = const(11)
_REFUSED = const(12)


def answer(app, kind, number, code, details=None, ends_trial=False):
    """Queues a result; it is told now, or at the next connection."""
    result = {1: app.config.gateway, 2: app.journal.epoch, 3: [kind, number], 4: code}
    if details is not None:
        result[5] = details
    app.results = app.results[1 - _MAX_RESULTS :] + ((ends_trial, cbor.encode(result)),)


async def tell(app):
    """Publishes the results until the broker has them; what does not get out stays for the next connection."""
    if app.trial > 1 and not any(ends for ends, _ in app.results):
        _answer_for_trial(app)
    while app.results and app.client.connected:
        told = asyncio.Event()
        ends_trial, payload = app.results[0]
        try:
            reason = await _publish(app, payload, told)
            await asyncio.wait_for_ms(told.wait(), _TOLD_MS)
        except (OSError, asyncio.TimeoutError):
            return
        if reason[0] is None:  # the connection went
            return
        app.results = app.results[1:]
        if ends_trial:
            app.store.remove("trial")
            app.trial = 0


def _answer_for_trial(app):
    mark = app.store.get("trial")  # as gateway.trial writes it
    version = int.from_bytes(mark[3:], "big")
    answer(app, mark[2], version, {_KEPT: _DONE, _BACK: _RETURNED}.get(app.trial, _REFUSED), ends_trial=True)


async def _publish(app, payload, told):
    """Returns a list that will hold the reason of the PUBACK once `told` is set."""
    reason = []

    def done(message):
        reason.append(message.reason)
        told.set()

    await app.uplink.publish_signed("result", payload, done=done)
    return reason
