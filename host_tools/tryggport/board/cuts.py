"""Where a planned power cut strikes: `program:N:K`, `erase:N`, `step:NAME[:NTH]`; N and NTH count from 1, from now."""

from __future__ import annotations

from dataclasses import dataclass

from tryggport.errors import TryggError

_HALF_BLOCK = 2048


@dataclass(frozen=True)
class Tear:
    """The nth operation of a kind ("program", "erase") stops after `byte` bytes."""

    kind: str
    nth: int
    byte: int

    def __str__(self) -> str:
        return f"erase:{self.nth}" if self.kind == "erase" else f"program:{self.nth}:{self.byte}"


@dataclass
class Step:
    """The nth time that the firmware names the step."""

    name: str
    nth: int = 1
    seen: int = 0

    def passed(self, name: str) -> bool:
        self.seen += name == self.name
        return name == self.name and self.seen == self.nth

    def __str__(self) -> str:
        return f"step:{self.name}:{self.nth}"


Cut = Tear | Step


def parse(spec: str) -> Cut:
    """The cut that `spec` describes. Raises TryggError."""
    kind, *fields = spec.split(":")
    try:
        if kind == "program" and len(fields) == 2:
            return _counted(Tear("program", int(fields[0]), int(fields[1])))
        if kind == "erase" and len(fields) == 1:
            return _counted(Tear("erase", int(fields[0]), _HALF_BLOCK))
        if kind == "step" and fields and fields[0] and len(fields) <= 2:
            return _counted(Step(fields[0], int(fields[1]) if len(fields) == 2 else 1))
    except ValueError:
        pass
    raise TryggError(
        f"{spec} is not a place for a power cut.", "Write program:N:K, erase:N or step:NAME[:NTH].", usage=True
    )


def _counted(cut: Cut) -> Cut:
    if cut.nth < 1 or (isinstance(cut, Tear) and cut.byte < 0):
        raise ValueError
    return cut
