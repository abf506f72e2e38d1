"""The timing table: every time that rules what the gateway does about its connections and what the home shows. In ms.

The ids are those of protocols/bounds.md. Plain names, so that a board for tests can carry a copy with other times; modules take
the few they need, and the table is forgotten."""

KEEP_ALIVE_MS = 30_000  # TP-BND-004
PUBACK_MS = 5_000  # TP-BND-005
AGAIN_MS = 10_000  # TP-BND-006
UNANSWERED_MS = 60_000  # TP-BND-007
UNANSWERED_AGAIN_MS = 600_000  # TP-BND-007
BACKOFF_MS = (1_000, 60_000)  # TP-BND-009
KICK_MS = 10_000  # TP-BND-010
HANDSHAKE_MS = 15_000  # TP-BND-011
TRIAL_MS = 600_000  # TP-BND-020
HURRY_MS = 5_000  # TP-BND-030
SECOND_PATH_MS = 30_000  # TP-BND-031
SWITCH_MS = 5_000  # TP-BND-032
PATH_DAY_MS = 86_400_000  # TP-BND-033
PATH_SOON_MS = 600_000  # TP-BND-033
PATH_PROOF_MS = 30_000  # TP-BND-034
PATH_RETURN_MS = (30_000, 900_000)  # TP-BND-035
PATH_RETRY_MS = 3600_000  # TP-BND-036
CLOSED_SHOWN_MS = 60_000  # TP-BND-037
ALARM_PAUSE_MS = 60_000  # TP-BND-038
EVENT_PAUSE_MS = 600_000  # TP-BND-038
