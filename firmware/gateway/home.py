"""What the home shows: pure logic from alarms and outcomes to one signal of events.toml (TP-WIR-019).

A machine's receipt is not help: *sent* is shown at `stored`, *help is informed* only at `taken`. What is known of an alarm
outlives a power cut (TP-WIR-053): the journal keeps what is not settled, `store` what became of the rest."""

from micropython import const

from gateway.bounds import CLOSED_SHOWN_MS, UNANSWERED_MS
from gateway.kinds import (
    OUTCOME_CLOSED,
    OUTCOME_HANDED_OVER,
    OUTCOME_RETRY_LATER,
    OUTCOME_TAKEN,
    SETTLING,
)

_MAX_ALARMS = const(16)  # TP-BND-042
# What is known of an alarm; beyond these the outcome itself, for the later ones have the higher numbers.
_SENDING = const(0)
_SENT = const(1)
_SIGNALS = {_SENDING: "sending", _SENT: "sent", OUTCOME_HANDED_OVER: "handed_over", OUTCOME_TAKEN: "taken"}


class Home:
    """Follows alarms by seq. `signal(now_ms)` names the signal to show; times are uptime in ms."""

    def __init__(self, store=None):
        self.online = False
        self.faults = set()
        self._store = store
        self._alarms = []  # [seq, state, since_ms, kind], oldest first; the closed ones too, so that no late receipt reopens them

    def raised(self, seq, kind, now_ms, state=_SENDING):
        self._alarms.append([seq, state, now_ms, kind])
        self._alarms.sort(key=lambda alarm: alarm[0])  # one from before this boot may be told of late
        if len(self._alarms) > _MAX_ALARMS:
            self._alarms.pop(0)

    def outcome(self, first, last, outcome, now_ms):
        """Takes a verified outcome for the events first..last; an outcome never goes back. Durable when it returns."""
        state = _SENT if outcome in SETTLING else outcome
        if state == OUTCOME_RETRY_LATER:
            return
        changed = False
        for alarm in self._alarms:
            if first <= alarm[0] <= last and state > alarm[1]:
                alarm[1] = state
                changed = True
                if state == OUTCOME_CLOSED:
                    alarm[2] = now_ms
        if changed and self._store:
            try:
                kept = [seq.to_bytes(4, "little") + bytes((at, kind)) for seq, at, _, kind in self._alarms if at]
                self._store.put("home", b"".join(kept))
            except OSError:
                pass  # worn flash: it is still shown until the next power cut

    def newest_open(self):
        """(seq, kind) of the newest alarm that is not closed, or None: what the cancel button cancels."""
        for alarm in reversed(self._alarms):
            if alarm[1] != OUTCOME_CLOSED:
                return alarm[0], alarm[3]
        return None

    def cancelled(self, seq, now_ms):
        self.outcome(seq, seq, OUTCOME_CLOSED, now_ms)

    def signal(self, now_ms):
        closed = False
        for _, state, since_ms, _ in reversed(self._alarms):
            if state == OUTCOME_CLOSED:
                closed = closed or now_ms - since_ms < CLOSED_SHOWN_MS
            elif state == OUTCOME_TAKEN or now_ms - since_ms < UNANSWERED_MS:
                return _SIGNALS[state]
            else:
                return "nobody_answered"
        return "closed" if closed else "fault" if self.faults else "idle" if self.online else "no_contact"
