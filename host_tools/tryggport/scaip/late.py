"""Whose a confirmation is that does not come over the connection on which its alarm went out (TP-SCA-013).

A reply names the alarm and not who it is from, and the steps of a case share the alarm's reference. It counts for the one list of
receivers that has taken the alarm without a word, or that was silent when none has taken it and none has confirmed it. Where there
are two it counts for neither: an alarm that is repeated does less harm than one that is believed to be where it never came. While
one that was asked has not answered yet, nobody can tell: the confirmation of a centre may overtake its 200.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field

from tryggport.scaip.judge import Verdict
from tryggport.scaip.locate import TLS, parse_uri
from tryggport.scaip.message import OK, Reply

REMEMBERED = 10_000  # alarms
NOTHING, SILENT, TOOK, DELIVERED, CONFIRMED = "nothing", "silent", "took", "delivered", "confirmed"
STATES = (NOTHING, SILENT, TOOK, DELIVERED, CONFIRMED)
Receivers = tuple[str, ...]


@dataclass
class Owing:
    """What one list of receivers owes for an alarm; `ways`: where the alarm went out."""

    state: str = NOTHING
    ways: set[str] = field(default_factory=set)


class Unconfirmed:
    """By alarm, the lists of receivers whose attempts are over: those that owe a reply, and those that have given it."""

    def __init__(self) -> None:
        self._of: dict[str, dict[Receivers, Owing]] = {}

    def over(self, ref: str, receivers: Receivers, ways: Iterable[str], verdict: Verdict) -> None:
        """What came of an attempt at one of them."""
        lists = self._of[ref] = self._of.pop(ref, {})
        if len(self._of) > REMEMBERED:
            del self._of[next(iter(self._of))]
        known = lists.setdefault(receivers, Owing())
        known.ways.update(ways)
        if verdict.delivered:
            known.state = DELIVERED
        elif verdict.took and known.state != CONFIRMED:
            known.state = TOOK
        elif not verdict.reached and known.ways and known.state in (NOTHING, DELIVERED):
            known.state = SILENT

    def went(self, ref: str, way: str) -> set[Receivers]:
        """Those to whom the alarm went this way."""
        return {receivers for receivers, known in self._of.get(ref, {}).items() if way in known.ways}

    def took(self, ref: str) -> set[Receivers]:
        return {receivers for receivers, known in self._of.get(ref, {}).items() if known.state == TOOK}

    def hear(self, reply: Reply, transport: str, among: Set[Receivers] = frozenset()) -> None:
        """A reply that is of nobody who is still asked; `among`: it comes from one of these, if that is known.

        Where some have confirmed the alarm already it says so once more, and nothing of those that were silent.
        """
        lists = self._of.get(reply.ref, {})
        by_state = {
            state: [receivers for receivers, known in lists.items() if known.state == state] for state in STATES
        }
        had = by_state[DELIVERED] or by_state[CONFIRMED]
        owing = by_state[TOOK] or ([] if had else by_state[SILENT])
        if reply.snu == OK and len(owing) == 1 and is_trusted(owing[0], transport) and (not among or owing[0] in among):
            lists[owing[0]].state = CONFIRMED

    def confirmed(self, ref: str, receivers: Sequence[str]) -> bool:
        known = self._of.get(ref, {}).get(tuple(receivers))
        return known is not None and known.state == CONFIRMED


def is_trusted(receivers: Sequence[str], transport: str) -> bool:
    """Whether a reply by this transport may be theirs: who is addressed over TLS confirms over TLS (TP-SCA-008)."""
    return transport == TLS or not any(parse_uri(receiver).secure for receiver in receivers)
