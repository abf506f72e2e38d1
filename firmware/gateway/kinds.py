"""Codes of the wire. Written by protocols/generate.py from protocols/events.toml."""

from micropython import const

FALL = const(1)
HELP = const(2)
BOOT = const(16)
CLOCK = const(17)
DROP = const(18)
FAULT = const(19)
MAINS = const(20)
PATH = const(22)
OUTCOME_STORED = const(0)
OUTCOME_DUPLICATE = const(1)
OUTCOME_CONFLICT = const(2)
OUTCOME_RAW = const(3)
OUTCOME_QUARANTINED = const(4)
OUTCOME_RETRY_LATER = const(5)
OUTCOME_HANDED_OVER = const(6)
OUTCOME_TAKEN = const(7)
OUTCOME_CLOSED = const(8)
STATE_RAISED = const(0)
STATE_UPDATED = const(1)
STATE_CLEARED = const(2)
QUALITY_NEVER = const(0)
QUALITY_HOLDOVER = const(1)
QUALITY_SYNCED = const(2)
CAUSE_POWER_ON = const(1)
CAUSE_HARD_RESET = const(2)
CAUSE_WATCHDOG = const(3)
CAUSE_DEEP_SLEEP = const(4)
CAUSE_SOFT_RESET = const(5)
FAULT_ACCELEROMETER = const(1)
FAULT_TASK_STOPPED = const(2)
FAULT_JOURNAL_FULL = const(3)
FAULT_EPOCH_CHANGED = const(4)
FAULT_CONFLICT = const(5)
FAULT_QUARANTINED = const(6)
FAULT_EVIDENCE_CUT = const(7)
FAULT_UNREADABLE = const(8)
FAULT_CHANGE_RETURNED = const(9)
FAULT_PATH = const(12)
VERDICT_RECOVERED = const(1)
VERDICT_LONG_LIE = const(2)
DATA_CAUSE = const(1)
DATA_FIRST = const(2)
DATA_LAST = const(3)
DATA_FAULT = const(4)
DATA_TASK = const(5)
DATA_EVIDENCE = const(6)
DATA_VERDICT = const(7)
DATA_GRACE_MS = const(8)
DATA_PREVIOUS_EPOCH = const(9)
DATA_PREVIOUS_NEXT_SEQ = const(10)
DATA_FIRMWARE = const(11)
DATA_ALARMS = const(12)
DATA_OLD_UTC_MS = const(13)
DATA_PATH = const(16)

# code: (name, is an alarm, severity, rank in a full journal)
KINDS = {
    1: ("fall", True, 3, 3),
    2: ("help", True, 3, 3),
    16: ("boot", False, 0, 0),
    17: ("clock", False, 0, 0),
    18: ("drop", False, 2, 0),
    19: ("fault", False, 2, 0),
    20: ("mains", False, 2, 0),
    22: ("path", False, 0, 0),
}
SETTLING = (0, 1, 2, 3, 4)
# state of the home: (order, light: red 1 + green 2, on_ms, off_ms, tone_hz, beeps, again_s)
SIGNALS = {
    "idle": (0, 0, 0, 0, 0, 0, 0),
    "no_contact": (1, 1, 100, 4900, 0, 0, 0),
    "fault": (2, 1, 100, 900, 0, 0, 0),
    "closed": (3, 2, 100, 900, 0, 0, 0),
    "sending": (4, 1, 250, 250, 880, 1, 0),
    "sent": (5, 3, 500, 500, 988, 1, 0),
    "handed_over": (6, 2, 500, 500, 988, 2, 0),
    "nobody_answered": (7, 1, 1000, 1000, 440, 3, 600),
    "taken": (8, 2, 1000, 0, 1319, 3, 0),
}
