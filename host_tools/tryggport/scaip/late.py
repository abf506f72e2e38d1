"""Confirmations that come after the attempts they are for were given up (TP-SCA-013).

A reply names the alarm and not who it is from. It counts for the one list of receivers that has taken the alarm without a word, or
that was silent when none has taken it. Where there are two it counts for neither: an alarm that is repeated does less harm than one
that is believed to be where it never came.
"""

from __future__ import annotations

from collections.abc import Sequence

from tryggport.scaip.courier import is_trusted
from tryggport.scaip.message import OK, Reply

REMEMBERED = 10_000  # alarms
TOOK, SILENT, CONFIRMED = "took", "silent", "confirmed"


class Unconfirmed:
    """By alarm, the lists of receivers that were asked and owe a reply, and those that have given it since."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple[str, ...], str]] = {}

    def give_up(self, ref: str, receivers: Sequence[str], *, took: bool) -> None:
        """One of them is silent; `took`: it has answered the message and not the alarm."""
        lists = self._of[ref] = self._of.pop(ref, {})
        if took or tuple(receivers) not in lists:
            lists[tuple(receivers)] = TOOK if took else SILENT
        if len(self._of) > REMEMBERED:
            del self._of[next(iter(self._of))]

    def settle(self, ref: str, receivers: Sequence[str]) -> None:
        """They owe nothing any more."""
        self._of.get(ref, {}).pop(tuple(receivers), None)

    def hear(self, reply: Reply, transport: str) -> None:
        """A reply that no attempt waits for."""
        lists = self._of.get(reply.ref, {})
        owing = [receivers for state in (TOOK, SILENT) for receivers in lists if lists[receivers] == state]
        alike = [receivers for receivers in owing if lists[receivers] == lists[owing[0]]]
        if reply.snu == OK and len(alike) == 1 and is_trusted(alike[0], transport):
            lists[alike[0]] = CONFIRMED

    def confirmed(self, ref: str, receivers: Sequence[str]) -> bool:
        return self._of.get(ref, {}).get(tuple(receivers)) == CONFIRMED
