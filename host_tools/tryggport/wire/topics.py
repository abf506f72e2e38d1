"""Topics (TP-WIR-001, TP-WIR-002): `trygg/1/<gateway>/<leaf>`."""

from __future__ import annotations

import re

PREFIX = "trygg/1/"
ALARM = "alarm"
EVENT = "event"
STATUS = "status"
RECEIPT = "receipt"
COMMAND = "command"
RESULT = "result"
UP = (ALARM, EVENT, STATUS, RESULT)
# What a receiver's workers share out, by group (TP-REC-200). A group of its own for each topic: rumqttd keeps one place in a group.
SHARED = {ALARM: "reception", EVENT: "reception-event", RESULT: "reception-result"}
GATEWAY_ID = re.compile(r"[a-z0-9-]{4,24}\Z")
_TOPIC = re.compile(r"trygg/1/([a-z0-9-]{4,24})/([a-z]+)\Z")


def topic(gateway: str, leaf: str) -> str:
    """The topic of one gateway, such as `trygg/1/kitchen-7/alarm`."""
    return f"{PREFIX}{gateway}/{leaf}"


def subscription(leaf: str) -> str:
    """What a worker of the receiver subscribes to: status goes to all of them, anything else to one."""
    return f"$share/{SHARED[leaf]}/{topic('+', leaf)}" if leaf in SHARED else topic("+", leaf)


def split(name: str) -> tuple[str, str] | None:
    """(gateway, leaf) of a topic, or None when it is not one of ours."""
    found = _TOPIC.match(name)
    return (found[1], found[2]) if found else None
