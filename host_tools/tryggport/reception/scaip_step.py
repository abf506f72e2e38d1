"""SCAIP as a step of the escalation list: one try at the step's receivers, and what came of it."""

from __future__ import annotations

import dataclasses

from tryggport.reception.channels import DELIVERED, REFUSED, UNDELIVERED, Delivery, Notice
from tryggport.scaip import codes
from tryggport.scaip.channel import ScaipChannel
from tryggport.scaip.codes import Home
from tryggport.scaip.courier import check_receivers
from tryggport.scaip.judge import Next
from tryggport.scaip.message import Request, printable


class ScaipStep:
    """`target`: SIP addresses, best first, with a space between them: a busy one leads to the next at once (TP-SCA-006)."""

    def __init__(self, channel: ScaipChannel, target: str) -> None:
        self._channel = channel
        self._receivers = target.split()

    def deliver(self, notice: Notice) -> Delivery:
        """`tryggport.reception.channels.Channel`. Raises TryggError for an address that is none."""
        if notice.cid is None:
            return Delivery(UNDELIVERED, "the installation has no cid")
        verdict = self._channel.attempt(_request(notice, notice.cid), self._receivers)
        outcome = {Next.DELIVERED: DELIVERED, Next.REFUSED: REFUSED}.get(verdict.next, UNDELIVERED)
        return Delivery(outcome, verdict.why)


def check_target(target: str) -> None:
    """Raises TryggError unless each address in the `target` of a step is a SIP address."""
    check_receivers(target.split())


def _request(notice: Notice, cid: str) -> Request:
    """Under the notice's own reference, which is the same at every attempt and every receiver (TP-SCA-004)."""
    home = Home(cid, notice.call_back)
    if notice.event is not None:
        return dataclasses.replace(codes.request_for(notice.event, home, alarm=True), ref=notice.ref)
    made = codes.unreadable_alarm(home, notice.ref)
    return dataclasses.replace(made, stt=printable(notice.about, 32)) if notice.about else made
