"""Turns what happened into event bytes and writes them to the journal, before anything else is done with them (TP-WIR-007)."""

from micropython import const

from gateway import cbor
from gateway.kinds import DATA_EVIDENCE, KINDS, STATE_RAISED, STATE_UPDATED
from gateway.trace import step

_MAX_EVENT = const(1100)  # TP-BND-003
_RANK_TEST = const(0)
_RANK_UPDATE = const(1)


class Recorder:
    """Knows who and when; `record` says what. Data flow: record -> journal.append -> (seq, event bytes, alarm)."""

    def __init__(self, gateway, journal, clock):
        self._gateway = gateway
        self._journal = journal
        self._clock = clock

    def record(self, kind, state=STATE_RAISED, ref=None, sensor=None, location=None, data=None, test=False):
        """Appends one event and returns (seq, its bytes, whether it is of the alarm class). Durable when it returns."""
        _, alarm, severity, rank = KINDS[kind]
        seq = self._journal.next_seq
        event = {
            1: self._gateway,
            2: self._journal.epoch,
            3: seq,
            4: self._journal.boot,
            5: self._clock.uptime_ms(),
            7: self._clock.quality(),
            8: kind,
            9: state,
            12: severity,
        }
        utc_ms = self._clock.utc_ms()
        for key, value in ((6, utc_ms), (10, test or None), (11, ref), (13, sensor), (14, location), (15, data)):
            if value is not None:
                event[key] = value
        if test:
            rank = _RANK_TEST
        elif state == STATE_UPDATED:
            rank = _RANK_UPDATE
        payload = _within(event)
        step("append.begin", seq)
        appended = self._journal.append(payload, alarm, rank=rank)
        step("append.end", seq)
        if appended != seq:
            raise RuntimeError("the journal gave another seq than the event carries")
        return seq, payload, alarm


def _within(event):
    """Encodes `event` in at most _MAX_EVENT bytes: evidence is cut, the alarm never."""
    payload = cbor.encode(event)
    while len(payload) > _MAX_EVENT and 15 in event:
        evidence = event[15].get(DATA_EVIDENCE)
        if not evidence:
            del event[15]
        else:
            event[15][DATA_EVIDENCE] = evidence[: len(evidence) // 2]
        payload = cbor.encode(event)
    return payload
