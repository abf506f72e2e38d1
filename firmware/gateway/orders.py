"""Attends to what has arrived on the topic `command`, and to what is to be told of it (protocols/commands.md).

`app` loads this module when there is something to do and forgets it afterwards. Heap is scarce: each part of the work is a
module that is there for its moment only, and the work waits until the uplink has a quiet one.
"""

import asyncio
import gc

from micropython import const

from gateway.app import log

_LOADED = (
    "gateway.orders",
    "gateway.authentic",
    "gateway.commands",
    "gateway.changes",
    "gateway.trial",
    "gateway.resend",
    "gateway.again",
    "gateway.journal.held",
    "gateway.results",
)
_QUIET_MS = const(200)
_REQUEST = const(3)
_LOOKS = const(25)  # 5 s: then it is done beside the backlog


async def work(app, forget):
    """Takes what has arrived, tells what came of it, and then does what ends in a restart. `forget(*names)` frees modules."""
    try:
        await _quiet(app.uplink)
        while app.orders:
            envelope = app.orders[0]
            app.orders = app.orders[1:]
            then = await _take(app, envelope, forget)
            await _tell(app, forget)
            if then:
                then()
        await _tell(app, forget)
    finally:
        forget(*_LOADED)


async def _quiet(uplink):
    """Until nothing is in flight and no receipt waits, twice in a row."""
    looks = 0
    for _ in range(_LOOKS):
        looks = 0 if uplink._in_flight or uplink._receipts else looks + 1
        if looks == 2:
            return
        await asyncio.sleep_ms(_QUIET_MS)


async def _take(app, envelope, forget):
    """What is to be called once the result is out, or None."""
    try:
        from gateway import authentic

        gc.collect()  # a key's comb needs room in one piece
        order = await authentic.verified(app.config.gateway, envelope, app.uplink.work_off)
        del authentic
        forget("gateway.authentic")
        if 0 < order[0] < _REQUEST:
            from gateway import changes as taker
        else:
            from gateway import commands as taker
        return await taker.take(app, *order)
    except (ValueError, KeyError, TypeError, IndexError) as e:
        app.refused_orders += 1
        log("order refused: %s" % e)


async def _tell(app, forget):
    forget("gateway.commands", "gateway.changes", "gateway.trial", "gateway.resend", "gateway.journal.held")
    if app.results or app.trial > 1:
        from gateway import results

        await results.tell(app)
