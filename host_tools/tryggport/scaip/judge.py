"""What the answer of a receiver means for the delivery. Pure; protocols/scaip.md has it as a table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tryggport.scaip import names
from tryggport.scaip.message import INVALID, OK, TAG_MISSING, TOO_LONG, WRONG_DATA, Reply

NOT_AS_IT_IS = (TOO_LONG, INVALID, WRONG_DATA, TAG_MISSING)


class Next(Enum):
    """`DELIVERED`: the receiver has it. `ELSEWHERE`: the next receiver now, this one again later. `REDUCE`: this receiver
    again with the mandatory tags only. `REFUSED`: never again to this receiver."""

    DELIVERED = "delivered"
    ELSEWHERE = "elsewhere"
    REDUCE = "reduce"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`snu` is None when no reply came; `reached`: a final answer of any kind came; `took`: the message was answered and the
    alarm not, so that a reply may still come; `why`: a sentence for the case."""

    next: Next
    why: str
    snu: int | None = None
    reached: bool = True
    took: bool = False

    @property
    def delivered(self) -> bool:
        return self.next is Next.DELIVERED


def of_reply(reply: Reply, *, reduced: bool) -> Verdict:
    """TP-SCA-006: only status number 0 is delivered; 1, 2, 3 and 7 never loop."""
    said = f"{names.reply(reply.snu)}{': ' if reply.ste else ''}{reply.ste or ''}"
    if reply.snu == OK:
        return Verdict(Next.DELIVERED, said, reply.snu)
    if reply.snu in NOT_AS_IT_IS:
        return Verdict(Next.REFUSED if reduced else Next.REDUCE, said, reply.snu)
    return Verdict(Next.ELSEWHERE, said, reply.snu)


def of_failure(code: int, phrase: str) -> Verdict:
    """A final response that is not 2xx: the receiver did not take the message."""
    return Verdict(Next.ELSEWHERE, f"answers {code} {phrase}".strip())


def silence(why: str, *, reached: bool, took: bool = False) -> Verdict:
    """No response at all, or one without the reply that confirms it."""
    return Verdict(Next.ELSEWHERE, why, reached=reached, took=took)
