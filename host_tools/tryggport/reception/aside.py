"""What cannot be stored is set aside, so that it does not stop the rest for ever (TP-REC-205).

A transaction that fails for its content would fail again after every restart. It is tried again, then each event alone; one that
cannot be stored as what it is is kept as an unreadable one, as a case when it came as an alarm, and a line of the work list says so.
It is never receipted: the gateway goes on holding it. A database that fails for reasons of its own still ends the worker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tryggport.errors import TryggError
from tryggport.reception import orders, store, turns
from tryggport.reception.database import Database
from tryggport.reception.schema import unreadable
from tryggport.reception.store import Arrival, Settled
from tryggport.texts import plain
from tryggport.wire.event import Unreadable
from tryggport.wire.order import Result
from tryggport.wire.status import Status

TRIES = 3  # TP-BND-247: what two workers did to each other is over by then
PAUSE_S = 0.05
NOT_STORED = "not stored: "  # how `why` begins
FAULT = "fault"  # reason under which a status or result is counted that could not be stored
_OURS = ("40", "57014")  # PostgreSQL: deadlock and the like, statement cancelled; they concern this transaction alone
_SQLITE = ("SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE")
State = tuple[Status, bool]
Step = Callable[[str, dict[str, Any]], None]


def commit(
    database: Database, arrivals: Sequence[Arrival], states: Sequence[State], at_ms: int, on_step: Step,
    say: Callable[[str], None],
) -> list[Settled]:  # fmt: skip
    """`store.commit`, in several transactions if need be. Raises TryggError when the database does not work."""
    for tried in range(TRIES):
        try:
            return store.commit(database, arrivals, states, at_ms, on_step)
        except Exception as e:
            if not concerns_content(e):
                raise
            time.sleep(PAUSE_S * tried)
    settled: list[Settled] = []
    for arrival in arrivals:
        settled += _alone(database, arrival, at_ms, say)
    for state in states:
        try:
            store.commit(database, [], [state], at_ms)
        except Exception as e:
            _drop(database, state[0].gateway, e, at_ms, say)
    return settled


def keep_results(database: Database, results: Sequence[Result], at_ms: int, say: Callable[[str], None]) -> None:
    """`orders.keep_results`; one that cannot be stored is dropped, for its order is sent again."""
    for at in range(0, len(results), turns.AT_ONCE):
        some = results[at : at + turns.AT_ONCE]
        try:
            orders.keep_results(database, some, at_ms)
        except Exception as e:
            if len(some) == 1 or not concerns_content(e):
                _drop(database, some[0].gateway, e, at_ms, say)
            else:
                for result in some:
                    keep_results(database, [result], at_ms, say)


def concerns_content(e: Exception) -> bool:
    """Whether another transaction might succeed."""
    if not isinstance(e, TryggError):
        return True  # a fault in this program
    cause = e.__cause__
    if not isinstance(cause, DBAPIError) or cause.connection_invalidated:
        return False
    if (name := getattr(cause.orig, "sqlite_errorname", None)) is not None:
        return str(name).startswith(_SQLITE)
    of_database = isinstance(cause, (OperationalError, InterfaceError))
    return not of_database or str(getattr(cause.orig, "sqlstate", "")).startswith(_OURS)


def _alone(database: Database, arrival: Arrival, at_ms: int, say: Callable[[str], None]) -> list[Settled]:
    try:
        return store.commit(database, [arrival], [], at_ms)
    except Exception as e:
        if not concerns_content(e):
            raise
        why = plain(f"{NOT_STORED}{e!r}")[:500]
    say(f"an event of {arrival.gateway} could not be stored and is set aside: {why}")
    kept = Arrival(arrival.gateway, store.is_alarm(arrival), Unreadable(arrival.item.encoded, why))
    try:
        store.commit(database, [kept], [], at_ms)
    except Exception as e:
        if not concerns_content(e):
            raise
        _bare(database, kept, at_ms)
    return []


def _bare(database: Database, kept: Arrival, at_ms: int) -> None:
    """Without a case, for that is what failed: the work list shows it all the same."""
    row = {
        "gateway": kept.gateway, "sha256": kept.item.sha256, "encoded": kept.item.encoded, "alarm": kept.alarm,
        "why": kept.item.why if isinstance(kept.item, Unreadable) else "", "copies": 1, "received_ms": at_ms,
    }  # fmt: skip
    with database.write() as tx:
        if not store.count_copy(tx, kept):
            tx.execute(insert(unreadable).values(row))


def _drop(database: Database, gateway: str, e: Exception, at_ms: int, say: Callable[[str], None]) -> None:
    if not concerns_content(e):
        raise e
    say(f"a message of {gateway} could not be stored and is dropped: {e!r}")
    store.count_refusals(database, Counter({(gateway, FAULT): 1}), at_ms)
