"""What the numbers of a SCAIP message are called. Data: device types, status codes and locations as open implementations list them."""

from __future__ import annotations

MESSAGE_TYPES = {"ME": "alarm", "RE": "reset", "IN": "information", "PI": "heartbeat"}

_DEVICES = (
    "unknown device|undefined device|local unit and controller|personal trigger|fixed trigger|fall detector|"
    "personal attack|panic button|duty switch, remote|duty switch, local|activity detector|pill dispenser|"
    "bed monitor|mat sensor|door sensor|wandering detector|enuresis detector|epilepsy detector|occupancy detector|"
    "heart rate monitor|environmental detector|gas detector|lighting circuit|smoke detector|heating|heat detector|"
    "carbon monoxide detector|bogus caller button|intruder alarm|boundary sensor|man-down detector|system monitor|"
    "communication monitor|flood detector|bath sensor|latch key|perimeter sensor|sprinkler|tamper detector|printer|"
    "router|power supply|device 42|access controller|chair monitor|controller|lift alarm|fire alarm system|"
    "local unit|monitoring device|radio unit|tracking device"
)
DEVICES = dict(enumerate(_DEVICES.split("|")))

_STATUS = (
    "unknown|undefined|abort|absent|accepted|acknowledged|activated|active|added|automatic alarm|manual alarm|alert|"
    "armed|assigned|battery failure|battery good|battery low|busy|bypass|cancelled|charged|closed|closed too long|"
    "IP connection failed|mobile network failed|telephone line failed|primary link failed|redundant link failed|"
    "deleted|denied|disarmed|disconnected|error 1|error 2|error 3|error 4|error 5|error 6|error 7|error 8|error 9|"
    "executed|failed|frequency drift|frequency drift|frequency drift|high level|in progress|in service|inactive|"
    "initiated|interrupted|jammed|level 1|level 2|level 3|level 4|level 5|level 6|level 7|level 8|level 9|log entry|"
    "loss|low level|maintenance needed|urgent maintenance needed|malfunction|memory full|not active|normal|occupied|"
    "off|off line|on|on line|open|open too long|out of service|overflow|pending|dose not taken|dose reminder|"
    "dose taken|planned|power failure|power restored|planned presence|presence after alarm|privacy switch|pulse|"
    "re-established|automatic reset|manual reset|restored|radio interference|started|ended|substituted|succeeded|"
    "temperature high|temperature low|test over the primary channel|test over the redundant channel|time-out|"
    "trouble|trespass|unauthorised access|bypass ended|verified|assistance|intervention complete|"
    "IP connection back|mobile network back|telephone line back|primary link back|redundant link back|lying in bed|"
    "locked|movement|occupied room|present|radio interference|radio test missing|radio test back|tampered with|"
    "temperature rises fast|unlocked"
)
STATUS = dict(enumerate(_STATUS.split("|")))

_PLACES = (
    "unknown place|undefined place|home|away|indoors|outdoors|inside|outside|area|zone|basement|bathroom|bedroom|"
    "dining room|floor|garage|garden|garden, front|garden, back|geofence|gym|kitchen|laundry|relaxing room|sauna|"
    "stairs|study|workshop|loft|shed|temporary address|summer house|winter cottage|on the move|position attached|"
    "GPS position attached|property|accessible bath|door|front door|back door|fire door|hallway|living room|"
    "apartment|bungalow|lounge|communal room|office|room|site|ward|wing"
)
PLACES = dict(enumerate(_PLACES.split("|")))

REPLIES = {
    0: "accepted", 1: "message too long", 2: "invalid format", 3: "wrong data", 4: "hold", 5: "not treated", 6: "busy",
    7: "mandatory tag missing", 99: "undefined error",
}  # fmt: skip


def device(code: int) -> str:
    return DEVICES.get(code, f"device {code}")


def status(code: int) -> str:
    return STATUS.get(code, f"status {code}")


def place(code: int) -> str:
    return PLACES.get(code, f"place {code}")


def reply(snu: int) -> str:
    return REPLIES.get(snu, f"status number {snu}")
