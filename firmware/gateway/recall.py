"""What the home showed before this boot (TP-WIR-053); needed once, at the start."""

from struct import unpack_from

from micropython import const

from gateway import cbor
from gateway.bounds import CLOSED_SHOWN_MS
from gateway.kinds import KINDS, OUTCOME_CLOSED, STATE_CLEARED, STATE_RAISED

_RECORD = const(6)  # bytes, as gateway.home packs them
_MAX_PENDING = const(1000)


def recall(home, store, journal, now_ms):
    """Tells `home` of the alarms that `store` knows the outcome of, then of those that `journal` has none for."""
    known = set()
    kept = store.get("home") or b""
    if kept and journal.boot == 1:  # of a journal that is gone: its numbers are given anew
        kept = b""
        try:
            store.put("home", kept)
        except OSError:
            pass  # worn flash: the next outcome is not kept either
    for at in range(0, len(kept) - _RECORD + 1, _RECORD):
        seq, state, kind = unpack_from("<IBB", kept, at)
        known.add(seq)
        home.raised(seq, kind, now_ms if state < OUTCOME_CLOSED else now_ms - CLOSED_SHOWN_MS, state)
    for _, alarm, payload in journal.pending(_MAX_PENDING):
        if not alarm:
            break
        event = cbor.decode(payload)
        if event[9] == STATE_CLEARED:
            home.cancelled(event.get(11), now_ms)
        elif event[9] == STATE_RAISED and event[8] in KINDS and event[3] not in known:
            home.raised(event[3], event[8], now_ms)
