"""The measurement as one HTML file without outside parts, for somebody who decides whether to trust the detector."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import median

from tryggport.falls import plots
from tryggport.falls.evaluate import Counted, Evaluation, Group
from tryggport.falls.figures import Figures
from tryggport.falls.recordings import Recordings, Trial
from tryggport.texts import Words

_SETS = {"sisfall": "SisFall", "umafall": "UMAFall"}
_STYLE = Path(__file__).with_name("report.css")


def caveat(_: Words) -> str:
    """In two sentences, what simulated falls cannot prove."""
    return _(
        "These falls were acted on mats, mostly by young people: of 29 real falls of old people, thirteen published detectors found "
        "57 % on average (Bagalà 2012). The hours are of scripted activities, so false alarms per hour here do not tell how many a "
        "day there will be in a home."
    )


def html(evaluation: Evaluation, recordings: Recordings, _: Words) -> str:
    """The whole document in the language of `_`."""
    title = escape(_("How well are falls found?"))
    parts = [
        f"<!doctype html>\n<html lang={_.language}><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{title}</title><style>{_STYLE.read_text(encoding='utf-8')}</style></head><body><main><h1>{title}</h1>",
        f"<p class=lead>{escape(_lead(list(evaluation.groups.values()), _))}</p>",
        f"<section class=caveat><h2>{escape(_('What this cannot prove'))}</h2><p>{escape(caveat(_))}</p></section>",
    ]
    for name, group in evaluation.groups.items():
        parts += _section(name, group, evaluation.threshold, recordings, _)
    if evaluation.refused:
        parts.append(f"<h2>{escape(_('Not measured'))}</h2><ul>")
        parts += [f"<li>{escape(name)}: {escape(why.told(_))}</li>" for name, why in evaluation.refused.items()]
        parts.append("</ul>")
    return "\n".join(parts) + "\n</main></body></html>\n"


def _lead(groups: Sequence[Group], _: Words) -> str:
    told = [group.honest for group in groups]
    falls = sum(counted.figures.falls for counted in told)
    hours = sum(trial.hours for counted in told for trial in counted.trials if not trial.fall)
    if all(group.unseen for group in groups):
        who = _("On people whom the detector had never seen, it found {found} of {falls} acted falls.")
    else:
        who = _("It found {found} of {falls} acted falls.")
    alarms = _("In {hours} hours of everyday activities it raised {alarms} false alarms.")
    return " ".join(
        (
            who.format(found=falls - sum(len(counted.missed) for counted in told), falls=falls),
            alarms.format(hours=_.number(hours, 1), alarms=sum(len(counted.false_alarms) for counted in told)),
        )
    )


def _section(name: str, group: Group, threshold: int, recordings: Recordings, _: Words) -> Iterable[str]:
    told = group.honest
    yield f"<h2>{escape(_titled(name, told.trials[0], _))}</h2>{_tiles(told.figures, group.delays_ms, _)}<p>{escape(_whose(group, _))}</p>"
    by_activity = list(told.figures.per_activity.items())
    for falls, heading in ((True, _("Falls found")), (False, _("False alarms in everyday activities"))):
        counted = [(activity, counts) for activity, counts in by_activity if counts.fall is falls]
        counted.sort(key=lambda told: told[1].alarms / told[1].trials, reverse=not falls)  # the worst first
        if counted:
            set_ = told.trials[0].set
            yield f"<h3>{escape(heading)}</h3>{plots.bars(set_, counted, falls, _)}"
    yield f"<h3>{escape(_('On whom it failed'))}</h3>{_people(told, _)}"
    yield from _drawn(_("Missed falls"), told.missed, recordings, _)
    yield from _drawn(_("False alarms"), told.false_alarms, recordings, _)
    if group.points:
        yield f"<h3>{escape(_('More falls found against fewer false alarms'))}</h3>"
        yield plots.operating_curve(group.points, threshold, _)
    if group.sensors:
        yield f"<h3>{escape(_('Behind other sensors'))}</h3>{_sensors(group.sensors, _)}"


def _titled(name: str, trial: Trial, _: Words) -> str:
    places = {
        "waist": _("{set}, worn at the waist"),
        "pocket": _("{set}, worn in a pocket"),
        "chest": _("{set}, worn on the chest"),
    }
    return places.get(trial.position, name).format(set=_SETS.get(trial.set, trial.set))


def _tiles(figures: Figures, delays_ms: Sequence[int], _: Words) -> str:
    tiles = [
        (_("falls found"), _percent(figures.se, _), _of(figures.falls, figures.se_interval, _)),
        (
            _("everyday activities without a false alarm"),
            _percent(figures.sp, _),
            _of(figures.adls, figures.sp_interval, _),
        ),
        (_("false alarms an hour"), _known(figures.fa_per_h, 2, _), _("of everyday activities, performed on request")),
    ]
    if delays_ms:
        middle, late = _.number(median(delays_ms) / 1000, 1), _.number(delays_ms[-1] / 1000, 1)
        note = _("in half of the falls; {late} s at most").format(late=late)
        tiles.append((_("from the impact to the alarm"), f"{middle} s", note))
    drawn = (
        f"<div class=tile>{escape(what)}<b>{value}</b><span>{escape(note)}</span></div>" for what, value, note in tiles
    )
    return f"<div class=tiles>{''.join(drawn)}</div>"


def _whose(group: Group, _: Words) -> str:
    if not group.unseen:
        return _(
            "The detector as it is shipped. It has learnt from SisFall and UMAFall: on those recordings these figures flatter. "
            "With --loso it is measured on people whom it never saw."
        )
    return _(
        "Each person was judged by a detector that had learnt from everybody else. The detector as it is shipped, which knows these "
        "people, finds {se} % at {fa} false alarms an hour."
    ).format(se=_.number(group.shipped.figures.se, 1), fa=_known(group.shipped.figures.fa_per_h, 2, _))


def _percent(value: float, _: Words) -> str:
    return f"{_known(value, 1, _)} %"


def _known(value: float, digits: int, _: Words) -> str:
    return "–" if math.isnan(value) else _.number(value, digits)


def _of(count: int, interval: tuple[float, float], _: Words) -> str:
    if not count:
        return _("none was recorded")
    low, high = (_known(end, 1, _) for end in interval)
    return _("of {count}; with 95 % certainty {low} to {high} %").format(count=count, low=low, high=high)


def _people(told: Counted, _: Words) -> str:
    """Everybody on whom the detector failed at least once."""
    rows = []
    subjects = sorted({trial.subject for trial in told.trials})
    wrong = {"missed": told.missed, "false": told.false_alarms}
    for subject in subjects:
        missed, false = (sum(trial.subject == subject for trial in trials) for trials in wrong.values())
        if missed or false:
            falls = sum(trial.subject == subject and trial.fall for trial in told.trials)
            adls = sum(trial.subject == subject and not trial.fall for trial in told.trials)
            missed_of, false_of = (_("{n} of {of}").format(n=n, of=of) for n, of in ((missed, falls), (false, adls)))
            rows.append(f"<tr><th scope=row>{escape(subject)}<td class=number>{missed_of}<td class=number>{false_of}")
    if not rows:
        return f"<p>{escape(_('On none of the {count} people.').format(count=len(subjects)))}</p>"
    told_of = _("On {failed} of {count} people.").format(failed=len(rows), count=len(subjects))
    heads = f"<th scope=col>{_('person')}<th scope=col class=number>{_('falls missed')}<th scope=col class=number>{_('false alarms')}"
    return f"<p>{escape(told_of)}</p><div class=wide><table><tr>{heads}{''.join(rows)}</table></div>"


def _drawn(heading: str, trials: Sequence[Trial], recordings: Recordings, _: Words) -> Iterable[str]:
    if not trials:
        return
    axes = _(
        "Thick: magnitude. Red, green dashed, blue dotted: the axes x, y, z. Upright dotted line: the impact of a fall."
    )
    yield f"<h3>{escape(heading)} ({len(trials)})</h3><p class=soft>{escape(axes)}</p><div class=plots>"
    for trial in trials:
        yield plots.trial_plot(trial, recordings.of(trial), _)
    yield "</div>"


def _sensors(sensors: dict[str, Figures], _: Words) -> str:
    heads = (_("sensor"), _("falls found"), _("everyday activities without a false alarm"), _("false alarms an hour"))
    rows = [
        f"<tr><th scope=row>{escape(_(name))}<td class=number>{_percent(figures.se, _)}<td class=number>{_percent(figures.sp, _)}"
        f"<td class=number>{_known(figures.fa_per_h, 2, _)}"
        for name, figures in sensors.items()
    ]
    columns = "".join(f"<th scope=col class=number>{escape(head)}" for head in heads[1:])
    intro = _("The detector as it is shipped, fed with the recordings as these sensors would have made them.")
    return f"<p>{escape(intro)}</p><div class=wide><table><tr><th scope=col>{heads[0]}{columns}{''.join(rows)}</table></div>"
