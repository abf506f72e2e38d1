"""What the home shows: pure logic from alarms and outcomes to one signal of events.toml (TP-WIR-019).

A machine's receipt is not help: *sent* is shown at `stored`, *help is informed* only at `taken`."""

from micropython import const

from gateway.bounds import CLOSED_SHOWN_MS, UNANSWERED_MS
from gateway.kinds import (
    OUTCOME_CLOSED,
    OUTCOME_HANDED_OVER,
    OUTCOME_TAKEN,
    SETTLING,
)

_MAX_ALARMS = const(16)
_ORDER = {"sending": 0, "sent": 1, "handed_over": 2, "taken": 3, "closed": 4}


class Home:
    """Follows alarms by seq. `signal(now_ms)` names the signal to show; times are uptime in ms."""

    def __init__(self):
        self.online = False
        self.faults = set()
        self._alarms = []  # [seq, state, since_ms, kind], oldest first; the closed ones too, so that no late receipt reopens them

    def raised(self, seq, kind, now_ms):
        self._alarms.append([seq, "sending", now_ms, kind])
        self._alarms.sort(key=lambda alarm: alarm[0])  # one from before this boot may be told of late
        if len(self._alarms) > _MAX_ALARMS:
            self._alarms.pop(0)

    def knows(self, seq):
        return any(alarm[0] == seq for alarm in self._alarms)

    def outcome(self, first, last, outcome, now_ms):
        """Takes a verified outcome for the events first..last; an outcome never goes back."""
        name = _shown(outcome)
        if name is None:
            return
        for alarm in self._alarms:
            if first <= alarm[0] <= last and _ORDER[name] > _ORDER[alarm[1]]:
                alarm[1] = name
                if name == "closed":
                    alarm[2] = now_ms

    def newest_open(self):
        """(seq, kind) of the newest alarm that is not closed, or None: what the cancel button cancels."""
        for alarm in reversed(self._alarms):
            if alarm[1] != "closed":
                return alarm[0], alarm[3]
        return None

    def cancelled(self, seq, now_ms):
        self.outcome(seq, seq, OUTCOME_CLOSED, now_ms)

    def signal(self, now_ms):
        shown = None
        for _, state, since_ms, _ in reversed(self._alarms):
            if state == "closed":
                if shown is None and now_ms - since_ms < CLOSED_SHOWN_MS:
                    shown = state
            elif state == "taken" or now_ms - since_ms < UNANSWERED_MS:
                return state
            else:
                return "nobody_answered"
        return shown or ("fault" if self.faults else "idle" if self.online else "no_contact")


def _shown(outcome):
    if outcome in SETTLING:
        return "sent"
    return {OUTCOME_HANDED_OVER: "handed_over", OUTCOME_TAKEN: "taken", OUTCOME_CLOSED: "closed"}.get(outcome)
