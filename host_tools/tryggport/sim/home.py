"""Reads the light in the home as a resident would: from when the pins changed to the signal of events.toml they show."""

from __future__ import annotations

from collections.abc import Iterable

from tryggport.wire.kinds import SIGNALS, Signal

RED, GREEN = 1, 2
LONGEST_MS = max(max(signal.on_ms, signal.off_ms) for signal in SIGNALS.values())
_SLACK_MS = 60


def colours(changes: Iterable[tuple[float, str, int]]) -> list[tuple[float, int]]:
    """(since ms, colour) from pin changes (ms, "led_red" or "led_green", level); changes within 20 ms are one."""
    bits = {"led_red": RED, "led_green": GREEN}
    colour = 0
    segments: list[tuple[float, int]] = []
    for t_ms, pin, level in changes:
        if pin not in bits:
            continue
        colour = colour | bits[pin] if level else colour & ~bits[pin]
        if segments and t_ms - segments[-1][0] < 20:
            segments[-1] = (segments[-1][0], colour)
        elif not segments or segments[-1][1] != colour:
            segments.append((t_ms, colour))
    return segments


def recognise(changes: Iterable[tuple[float, str, int]], now_ms: float) -> tuple[float, Signal] | None:
    """(since ms, signal) that the light shows at `now_ms`, or None while that cannot be told yet."""
    segments = colours(changes)
    if not segments:
        return None
    since, colour = segments[-1]
    steady_ms = now_ms - since
    for signal in SIGNALS.values():
        if not signal.off_ms and signal.light == colour and steady_ms > (LONGEST_MS if colour == 0 else 1100):
            return since, signal
    if steady_ms > LONGEST_MS + _SLACK_MS or len(segments) < 3:
        return None
    (first, one), (second, other) = segments[-3:-1]
    light, on_ms, off_ms = (one, second - first, since - second) if one else (other, since - second, second - first)
    if one and other:
        return None
    for signal in SIGNALS.values():
        if signal.off_ms and signal.light == light and _near(on_ms, signal.on_ms) and _near(off_ms, signal.off_ms):
            return first, signal
    return None


def _near(measured_ms: float, stated_ms: int) -> bool:
    return abs(measured_ms - stated_ms) <= _SLACK_MS + stated_ms * 0.15
