"""Pins and PWM of a virtual board: levels, interrupts, and the history that tells what a resident saw and heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_OUT = (3, 7)
_PULL_UP = 2
_RISING, _FALLING = 1, 2
_NO_CHANGE = 255
HISTORY = 20_000

Value = int | tuple[int, int]
Change = tuple[float, str, Value]


@dataclass(frozen=True)
class Outputs:
    """What the board shows: levels by pin name, (frequency in Hz, duty 0..65535) by PWM pin, last changes, all changes.

    A history entry is (t_ms, pin name, level or (frequency, duty)); a PWM that ends is (0, 0).
    """

    levels: dict[str, int]
    pwm: dict[str, tuple[int, int]]
    changed_ms: dict[str, float]
    history: list[Change]


@dataclass
class _Pin:
    mode: int = 0
    pull: int = 0
    output: int = 0
    driven: int | None = None  # by the world outside
    trigger: int = 0
    level: int = 0
    pwm: tuple[int, int] = (0, 0)


@dataclass
class Pins:
    """`names` maps pin numbers to names; `now_ms` is the board's clock; `interrupt(pin, level)` and `changed` are told."""

    names: dict[int, str]
    now_ms: Callable[[], float]
    interrupt: Callable[[int, int], None]
    changed: Callable[[str, Value], None]
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def __post_init__(self) -> None:
        self._pins: dict[int, _Pin] = {}
        self._changed_ms: dict[str, float] = {}

    def name(self, number: int) -> str:
        return self.names.get(number, f"GPIO{number}")

    def number(self, name: str) -> int:
        return next(number for number, known in self.names.items() if known == name)

    def reset(self) -> None:
        """As at power-on or a hard reset: all pins are inputs; what drives them from outside stays."""
        for number, pin in self._pins.items():
            if pin.pwm != (0, 0):
                self.pwm(number, 0, 0)
            pin.mode = pin.pull = pin.output = pin.trigger = 0
            self._settle(number, pin)

    def mode(self, number: int, mode: int, pull: int) -> None:
        pin = self._pin(number)
        if mode:
            pin.mode = mode
        if pull != _NO_CHANGE:
            pin.pull = pull
        self._settle(number, pin)

    def irq(self, number: int, trigger: int) -> None:
        self._pin(number).trigger = trigger

    def get(self, number: int) -> int:
        return self._pin(number).level

    def set(self, number: int, level: int) -> None:
        pin = self._pin(number)
        pin.output = 1 if level else 0
        self._settle(number, pin)

    def drive(self, number: int, level: int | None) -> None:
        """The world outside puts a level on the pin, or lets go."""
        pin = self._pin(number)
        pin.driven = level
        self._settle(number, pin)

    def pwm(self, number: int, frequency_hz: int, duty_u16: int) -> None:
        pin = self._pin(number)
        value = (frequency_hz, duty_u16) if frequency_hz else (0, 0)
        if value != pin.pwm:
            pin.pwm = value
            self._note(number, value)

    def outputs(self) -> Outputs:
        levels = {self.name(n): p.level for n, p in self._pins.items()}
        pwm = {self.name(n): p.pwm for n, p in self._pins.items() if p.pwm != (0, 0)}
        return Outputs(levels, pwm, dict(self._changed_ms), list(self.history))

    def _pin(self, number: int) -> _Pin:
        return self._pins.setdefault(number, _Pin())

    def _settle(self, number: int, pin: _Pin) -> None:
        if pin.mode in _OUT:
            level = pin.output
        elif pin.driven is not None:
            level = pin.driven
        else:
            level = 1 if pin.pull == _PULL_UP else 0
        if level == pin.level:
            return
        pin.level = level
        self._note(number, level)
        if pin.trigger & (_RISING if level else _FALLING):
            self.interrupt(number, level)

    def _note(self, number: int, value: Value) -> None:
        name, now = self.name(number), self.now_ms()
        self._changed_ms[name] = now
        self.history.append((now, name, value))
        self.changed(name, value)
