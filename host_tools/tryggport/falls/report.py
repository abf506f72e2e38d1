"""The measurement as one HTML file without outside parts, for somebody who decides whether to trust the detector."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from html import escape
from statistics import median

from tryggport.falls.activities import described
from tryggport.falls.evaluate import Evaluation, Group
from tryggport.falls.figures import Activity, Point
from tryggport.falls.recordings import Recordings, Trial

CAVEAT = (
    "These falls were acted on mats, mostly by young people: of 29 real falls of old people, thirteen published detectors found "
    "57 % on average (Bagalà 2012). The hours are of scripted activities, so false alarms per hour here do not tell how many a "
    "day there will be in a home."
)

_AXIS_COLOURS = ("#c0392b", "#1b7f4b", "#2c6fbb")
_STYLE = """
:root { color-scheme: light dark; --good: #1b7f4b; --bad: #c0392b; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 1.5rem; }
.caveat { border-left: 4px solid var(--bad); padding: .3rem 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; }
.tile b { display: block; font-size: 1.7rem; } .tile span { font-size: .85rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .15rem .8rem .15rem 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.bar { width: 18rem; height: .8rem; background: var(--line); } .bar i { display: block; height: 100%; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; } svg { max-width: 100%; height: auto; } text { fill: currentColor; }
"""


def html(evaluation: Evaluation, recordings: Recordings) -> str:
    """The whole document."""
    parts = [
        "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Fall detector: measured on recordings</title><style>{_STYLE}</style>",
        "<h1>Fall detector: measured on recordings of people</h1>",
        f"<p class=caveat>{escape(CAVEAT)}</p>",
    ]
    for name, group in evaluation.groups.items():
        parts += _section(name, group, evaluation.threshold, recordings)
    if evaluation.refused:
        parts.append("<h2>Not measured</h2><ul>")
        parts += [f"<li>{escape(name)}: {escape(why)}" for name, why in evaluation.refused.items()]
        parts.append("</ul>")
    return "\n".join(parts) + "\n</html>\n"


def _section(name: str, group: Group, threshold: int, recordings: Recordings) -> Iterable[str]:
    figures = group.figures
    yield f"<h2>{escape(name)}</h2><div class=tiles>"
    yield _tile("falls found", f"{figures.se:.1f} %", f"of {figures.falls}; {_interval(figures.se_interval)}")
    yield _tile(
        "activities without a false alarm",
        f"{figures.sp:.1f} %",
        f"of {figures.adls}; {_interval(figures.sp_interval)}",
    )
    yield _tile("false alarms per hour", f"{figures.fa_per_h:.2f}", "of scripted activities")
    if group.delays_ms:
        middle, late = median(group.delays_ms) / 1000, group.delays_ms[-1] / 1000
        yield _tile("from the highest peak to the verdict", f"{middle:.1f} s", f"median; at most {late:.1f} s")
    yield "</div>"
    if group.loso:
        yield (
            f"<p><b>On people whom the trees never saw: {group.loso.se:.1f} % of falls found, {group.loso.sp:.1f} % of "
            f"activities without a false alarm, {group.loso.fa_per_h:.2f} false alarms per hour.</b> "
            "Where the trees were fitted to these very recordings, the figures above flatter.</p>"
        )
    else:
        yield (
            "<p>The shipped trees were fitted to SisFall and UMAFall: on those recordings these figures flatter. "
            "Measure people whom the trees never saw with --loso.</p>"
        )
    if group.points:
        source = "trees that never saw the person" if group.loso else "the firmware's trees"
        yield f"<h3>What another threshold would bring ({source})</h3>"
        yield _curve(group.points, threshold)
    yield "<h3>Movements</h3><table>"
    for activity, counts in figures.per_activity.items():
        yield _bar(described(group.trials[0].set, activity), counts)
    yield "</table><h3>People</h3>" + _people(group)
    yield f"<h3>Missed falls ({len(group.missed)})</h3><div class=plots>"
    for trial in group.missed:
        yield _plot(trial, recordings.of(trial))
    yield "</div>"


def _tile(label: str, value: str, note: str) -> str:
    return f"<div class=tile>{escape(label)}<b>{value}</b><span>{escape(note)}</span></div>"


def _interval(interval: tuple[float, float]) -> str:
    return f"95 % interval {interval[0]:.1f} to {interval[1]:.1f}"


def _bar(name: str, counts: Activity) -> str:
    share = 100 * counts.alarms / counts.trials
    what, colour = ("found", "--good") if counts.fall else ("false alarms", "--bad")
    return (
        f"<tr><td>{escape(name)}<td><div class=bar><i style='width:{share:.1f}%;background:var({colour})'></i></div>"
        f"<td class=number>{counts.alarms} of {counts.trials}<td>{what}"
    )


def _people(group: Group) -> str:
    """Everybody on whom the detector failed at least once."""
    told = list(zip(group.trials, group.alarms, strict=True))
    rows = []
    subjects = sorted({trial.subject for trial in group.trials})
    for subject in subjects:
        falls = [alarm for trial, alarm in told if trial.subject == subject and trial.fall]
        adls = [alarm for trial, alarm in told if trial.subject == subject and not trial.fall]
        if not all(falls) or any(adls):
            rows.append(
                f"<tr><td>{escape(subject)}<td class=number>{len(falls) - sum(falls)} of {len(falls)}"
                f"<td class=number>{sum(adls)} of {len(adls)}"
            )
    if not rows:
        return f"<p>It did not fail on any of the {len(subjects)} people.</p>"
    head = "<table><tr><th>person<th class=number>falls missed<th class=number>false alarms"
    return f"<p>It failed on {len(rows)} of {len(subjects)} people.</p>{head}{''.join(rows)}</table>"


def _curve(points: Sequence[Point], threshold: int) -> str:
    """Sensitivity over false alarms per hour; the axis of false alarms is a square root, which shows the low ones."""
    width, height, left, bottom = 560, 260, 50, 40
    most = max(4.0, min(64.0, max(point.fa_per_h for point in points)))
    least = 80.0

    def place(fa_per_h: float, se: float) -> tuple[float, float]:
        x = left + (width - left - 10) * math.sqrt(min(fa_per_h, most) / most)
        return x, 10 + (height - bottom - 10) * (100 - max(se, least)) / (100 - least)

    drawn = [place(p.fa_per_h, p.se) for p in points if p.se >= least and p.fa_per_h <= most]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)
    parts = [f"<svg width={width} height={height} viewBox='0 0 {width} {height}' role=img font-size=12>"]
    for se in (80, 85, 90, 95, 100):
        y = place(0, se)[1]
        parts.append(f"<line x1={left} x2={width - 10} y1={y:.1f} y2={y:.1f} stroke='#8884'/>")
        parts.append(f"<text x={left - 8} y={y + 4:.1f} text-anchor=end>{se} %</text>")
    for fa in (0, 1, 4, 9, 16, 36, 64):
        if fa <= most:
            x = place(fa, 100)[0]
            parts.append(f"<text x={x:.1f} y={height - bottom + 16} text-anchor=middle>{fa}</text>")
    parts.append(f"<text x={left} y={height - 6}>false alarms per hour of scripted activity</text>")
    parts.append(f"<polyline points='{line}' fill=none stroke='#2c6fbb' stroke-width=2 />")
    chosen = next((p for p in points if p.threshold >= threshold), points[-1])
    x, y = place(chosen.fa_per_h, chosen.se)
    parts.append(f"<circle cx={x:.1f} cy={y:.1f} r=5 fill='#c0392b'><title>as shipped</title></circle>")
    parts.append(f"<text x={x + 9:.1f} y={y + 16:.1f}>as shipped</text></svg>")
    return "".join(parts)


def _plot(trial: Trial, samples: bytes) -> str:
    """The three axes and the magnitude of one trial, in g over seconds."""
    width, height = 300, 120
    flat = array("h", samples)
    step = max(1, trial.samples // width)
    axes = [flat[axis::3][::step] for axis in range(3)]
    magnitude = [math.sqrt(x * x + y * y + z * z) for x, y, z in zip(*axes, strict=True)]
    top, floor = max(2000.0, *magnitude), min(-1500, *(min(axis) for axis in axes))
    drawn: list[tuple[Sequence[float], str]] = [*zip(axes, _AXIS_COLOURS, strict=True), (magnitude, "currentColor")]
    lines = [
        "<polyline fill=none stroke='{}' points='{}'/>".format(
            colour,
            " ".join(
                f"{i * width / len(values):.0f},{height * (top - v) / (top - floor):.0f}" for i, v in enumerate(values)
            ),
        )
        for values, colour in drawn
    ]
    seconds = trial.samples / trial.rate_hz
    return (
        f"<figure><svg width={width} height={height} viewBox='0 0 {width} {height}' role=img>{''.join(lines)}</svg>"
        f"<figcaption>{escape(trial.subject)}, {escape(described(trial.set, trial.activity))}, trial {trial.number}: {seconds:.0f} s, "
        f"peak {max(magnitude) / 1000:.1f} g; red x, green y, blue z</figcaption></figure>"
    )
