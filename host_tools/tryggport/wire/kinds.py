"""Codes of the wire. Written by protocols/generate.py from protocols/events.toml."""

from dataclasses import dataclass

FALL = 1
HELP = 2
BOOT = 16
CLOCK = 17
DROP = 18
FAULT = 19
MAINS = 20
PATH = 22
OUTCOME_STORED = 0
OUTCOME_DUPLICATE = 1
OUTCOME_CONFLICT = 2
OUTCOME_RAW = 3
OUTCOME_QUARANTINED = 4
OUTCOME_RETRY_LATER = 5
OUTCOME_HANDED_OVER = 6
OUTCOME_TAKEN = 7
OUTCOME_CLOSED = 8
STATE_RAISED = 0
STATE_UPDATED = 1
STATE_CLEARED = 2
QUALITY_NEVER = 0
QUALITY_HOLDOVER = 1
QUALITY_SYNCED = 2
CAUSE_POWER_ON = 1
CAUSE_HARD_RESET = 2
CAUSE_WATCHDOG = 3
CAUSE_DEEP_SLEEP = 4
CAUSE_SOFT_RESET = 5
FAULT_ACCELEROMETER = 1
FAULT_TASK_STOPPED = 2
FAULT_JOURNAL_FULL = 3
FAULT_EPOCH_CHANGED = 4
FAULT_CONFLICT = 5
FAULT_QUARANTINED = 6
FAULT_EVIDENCE_CUT = 7
FAULT_UNREADABLE = 8
FAULT_CHANGE_RETURNED = 9
FAULT_PATH = 12
VERDICT_RECOVERED = 1
VERDICT_LONG_LIE = 2
DATA_CAUSE = 1
DATA_FIRST = 2
DATA_LAST = 3
DATA_FAULT = 4
DATA_TASK = 5
DATA_EVIDENCE = 6
DATA_VERDICT = 7
DATA_GRACE_MS = 8
DATA_PREVIOUS_EPOCH = 9
DATA_PREVIOUS_NEXT_SEQ = 10
DATA_FIRMWARE = 11
DATA_ALARMS = 12
DATA_OLD_UTC_MS = 13
DATA_PATH = 16
SENSOR_FAULT_SILENT = 32
SENSOR_FAULT_BATTERY_LOW = 33


@dataclass(frozen=True)
class Kind:
    """What is reported. `scaip`, `cleared`: (mty, dty, stc) of SS 91100; `vkp`: alert code or empty."""

    code: int
    name: str
    alarm: bool
    severity: int
    scaip: tuple[str, int, int]
    cleared: tuple[str, int, int] | None
    vkp: str
    en: str
    nb: str


@dataclass(frozen=True)
class Signal:
    """What the home shows. `light`: red 1 + green 2; `off_ms` 0: steady; `beeps` at the change."""

    name: str
    order: int
    light: int
    on_ms: int
    off_ms: int
    tone_hz: int
    beeps: int
    again_s: int
    en: str
    nb: str


KINDS = {
    1: Kind(1, "fall", True, 3, ("ME", 5, 9), ("RE", 5, 19), "4.1", "Fall", "Fall"),
    2: Kind(2, "help", True, 3, ("ME", 4, 10), ("RE", 4, 19), "4.13", "Help button", "Hjelpeknapp"),
    16: Kind(16, "boot", False, 0, ("IN", 45, 96), None, "", "Gateway started", "Porten startet"),
    17: Kind(17, "clock", False, 0, ("IN", 45, 62), None, "", "Clock set", "Klokken er stilt"),
    18: Kind(18, "drop", False, 2, ("IN", 45, 79), None, "", "Events lost: journal full", "Hendelser gikk tapt: journalen er full"),
    19: Kind(19, "fault", False, 2, ("IN", 45, 67), ("RE", 45, 94), "", "Gateway fault", "Feil på porten"),
    20: Kind(20, "mains", False, 2, ("IN", 41, 85), ("RE", 41, 86), "1.19", "Mains power lost", "Strømbrudd"),
    22: Kind(22, "path", False, 0, ("IN", 45, 62), None, "", "Path tested", "Sambandsvei prøvd"),
}
OUTCOMES = {0: "stored", 1: "duplicate", 2: "conflict", 3: "raw", 4: "quarantined", 5: "retry_later", 6: "handed_over", 7: "taken", 8: "closed"}
STATES = {0: "raised", 1: "updated", 2: "cleared"}
QUALITIES = {0: "never", 1: "holdover", 2: "synced"}
DATA = {1: "cause", 2: "first", 3: "last", 4: "fault", 5: "task", 6: "evidence", 7: "verdict", 8: "grace_ms", 9: "previous_epoch", 10: "previous_next_seq", 11: "firmware", 12: "alarms", 13: "old_utc_ms", 16: "path"}
SIGNALS = {
    "idle": Signal("idle", 0, 0, 0, 0, 0, 0, 0, "All is well", "Alt er i orden"),
    "no_contact": Signal("no_contact", 1, 1, 100, 4900, 0, 0, 0, "No contact with the alarm centre", "Ikke kontakt med alarmmottaket"),
    "fault": Signal("fault", 2, 1, 100, 900, 0, 0, 0, "Fault: call your contact", "Feil: ring kontakten din"),
    "closed": Signal("closed", 3, 2, 100, 900, 0, 0, 0, "The alarm is closed", "Alarmen er avsluttet"),
    "sending": Signal("sending", 4, 1, 250, 250, 880, 1, 0, "Alarm seen, not yet sent", "Alarmen er sett, ikke sendt ennå"),
    "sent": Signal("sent", 5, 3, 500, 500, 988, 1, 0, "Sent", "Sendt"),
    "handed_over": Signal("handed_over", 6, 2, 500, 500, 988, 2, 0, "The alarm centre has it", "Alarmmottaket har den"),
    "nobody_answered": Signal("nobody_answered", 7, 1, 1000, 1000, 440, 3, 600, "Nobody has answered yet", "Ingen har svart ennå"),
    "taken": Signal("taken", 8, 2, 1000, 0, 1319, 3, 0, "Help is informed", "Hjelpen er varslet"),
}
