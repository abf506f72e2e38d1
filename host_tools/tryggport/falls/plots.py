"""Drawings of the report, as SVG that carries its own description."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from html import escape

from tryggport.falls.activities import described
from tryggport.falls.figures import Activity, Point
from tryggport.falls.impact import impact
from tryggport.falls.recordings import Trial
from tryggport.texts import Words

LEAST_SE = 80.0  # percent at the foot of the operating curve
_BUCKETS = 150


def bars(group_set: str, counted: Sequence[tuple[str, Activity]], falls: bool, _: Words) -> str:
    """A bar for each activity: falls found, or false alarms."""
    rows = []
    for activity, counts in counted:
        share = 100 * counts.alarms / counts.trials
        perfect = counts.alarms == (counts.trials if falls else 0)
        told = _("{n} of {of}").format(n=counts.alarms, of=counts.trials)
        rows.append(
            f"<li class='{'good' if perfect else 'bad'}'><span>{escape(described(group_set, activity, _))}</span>"
            f"<span class=bar aria-hidden=true><i class='{'good' if falls else 'bad'}' style='width:{share:.1f}%'></i></span>"
            f"<b>{told}</b></li>"
        )
    return f"<ul class=bars>{''.join(rows)}</ul>"


def operating_curve(points: Sequence[Point], threshold: int, _: Words) -> str:
    """Falls found over false alarms an hour; the axis of false alarms is a square root, which shows the low ones."""
    width, height, left, bottom = 640, 300, 60, 46
    most = max(4.0, min(64.0, max(point.fa_per_h for point in points)))

    def place(fa_per_h: float, se: float) -> tuple[float, float]:
        x = left + (width - left - 20) * math.sqrt(min(fa_per_h, most) / most)
        return x, 12 + (height - bottom - 12) * (100 - max(se, LEAST_SE)) / (100 - LEAST_SE)

    chosen = next((p for p in points if p.threshold >= threshold), points[-1])
    told = _("As shipped: {se} % of the falls found at {fa} false alarms an hour.").format(
        se=_.number(chosen.se, 1), fa=_.number(chosen.fa_per_h, 1)
    )
    parts = [f"<svg viewBox='0 0 {width} {height}' role=img aria-label='{escape(told)}' class=curve>"]
    for se in (80, 85, 90, 95, 100):
        y = place(0, se)[1]
        parts.append(f"<line x1={left} x2={width - 20} y1={y:.1f} y2={y:.1f} class=grid />")
        parts.append(f"<text x={left - 8} y={y + 5:.1f} text-anchor=end>{se} %</text>")
    for fa in (0, 1, 4, 9, 16, 36, 64):
        if fa <= most:
            parts.append(f"<text x={place(fa, 100)[0]:.1f} y={height - bottom + 20} text-anchor=middle>{fa}</text>")
    parts.append(f"<text x={left} y={height - 6}>{escape(_('false alarms an hour of everyday activities'))}</text>")
    drawn = [place(p.fa_per_h, p.se) for p in points if p.se >= LEAST_SE and p.fa_per_h <= most]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    x, y = place(chosen.fa_per_h, chosen.se)
    parts.append(f"<polyline points='{line}' class=line /><circle cx={x:.1f} cy={y:.1f} r=6 class=chosen />")
    parts.append(f"<text x={x + 12:.1f} y={y + 20:.1f}>{escape(_('as shipped'))}</text></svg>")
    return f"<figure>{''.join(parts)}<figcaption>{escape(told)}</figcaption></figure>"


def trial_plot(trial: Trial, samples: bytes, _: Words) -> str:
    """The three axes and the magnitude of one trial, in g over seconds; of each slice of time the highest magnitude."""
    width, height, left, bottom = 340, 150, 34, 18
    flat = array("h", samples)
    vectors = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
    step = max(1, len(vectors) // _BUCKETS)
    kept = [max(vectors[i : i + step], key=lambda v: math.hypot(*v)) for i in range(0, len(vectors), step)]
    top = max(2.0, *(math.hypot(*v) / 1000 for v in kept))
    floor = min(-1.0, *(min(v) / 1000 for v in kept))
    seconds = trial.samples / trial.rate_hz

    def y(g: float) -> float:
        return 4 + (height - bottom - 4) * (top - g) / (top - floor)

    def line(values: Sequence[float], name: str) -> str:
        scale = (width - left) / max(1, len(values) - 1)
        points = " ".join(f"{left + i * scale:.0f},{y(v / 1000):.0f}" for i, v in enumerate(values))
        return f"<polyline class={name} points='{points}'/>"

    told = _("{who}, {what}, trial {number}: {seconds} s, highest magnitude {peak} g").format(
        who=trial.subject, what=described(trial.set, trial.activity, _), number=trial.number,
        seconds=_.number(seconds, 0), peak=_.number(top if top > 2 else max(math.hypot(*v) for v in kept) / 1000, 1),
    )  # fmt: skip
    parts = [f"<svg viewBox='0 0 {width} {height}' role=img aria-label='{escape(told)}'>"]
    apart = 1 if top < 4 else 2
    for g in range(math.ceil(floor / apart) * apart, math.floor(top) + 1, apart):
        parts.append(f"<line x1={left} x2={width} y1={y(g):.0f} y2={y(g):.0f} class=grid />")
        parts.append(f"<text x={left - 5} y={y(g) + 4:.0f} text-anchor=end>{g} g</text>")
    for second in range(0, int(seconds) + 1, 5):
        parts.append(f"<text x={left + (width - left) * second / seconds:.0f} y={height - 3}>{second} s</text>")
    if trial.fall:
        at = left + (width - left) * impact(samples, trial.rate_hz) / trial.samples
        parts.append(f"<line x1={at:.0f} x2={at:.0f} y1=4 y2={height - bottom} class=impact />")
    parts += [line([v[axis] for v in kept], name) for axis, name in enumerate("xyz")]
    parts.append(line([math.hypot(*v) for v in kept], "m"))
    return f"<figure>{''.join(parts)}</svg><figcaption>{escape(told)}</figcaption></figure>"
