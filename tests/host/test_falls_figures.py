"""Counting: a trial counts once, hours are those of everyday activities (TP-FAL-009)."""

import math
from dataclasses import replace

import pytest
from tryggport.falls.figures import curve, figures, wilson
from tryggport.falls.recordings import Trial

WALK = Trial(0, "set", "waist", "A", "walk", False, 50.0, 0, 50 * 3600)
FALL = replace(WALK, activity="slip", fall=True, samples=50)


def test_figures_count_trials_and_hours_of_activities() -> None:
    found = figures([FALL, FALL, FALL, FALL, WALK, WALK], [True, True, True, False, True, False])
    assert (found.falls, found.adls, found.se, found.sp) == (4, 2, 75.0, 50.0)
    assert found.fa_per_h == 0.5
    assert {name: (a.fall, a.trials, a.alarms) for name, a in found.per_activity.items()} == {
        "slip": (True, 4, 3),
        "walk": (False, 2, 1),
    }
    assert found.table()["per_activity"]["slip"] == {"fall": True, "trials": 4, "alarms": 3}


def test_what_is_unknown_is_none() -> None:
    table = figures([FALL], [True]).table()
    assert table["sp"] is None
    assert table["fa_per_h"] is None
    assert table["sp_interval"] == [None, None]


def test_wilson_interval_as_published() -> None:
    assert wilson(81, 263) == (pytest.approx(25.53, abs=0.01), pytest.approx(36.62, abs=0.01))  # Newcombe 1998, table I
    assert wilson(0, 20) == (0, pytest.approx(16.11, abs=0.01))
    assert all(math.isnan(x) for x in wilson(0, 0))


def test_the_curve_falls_with_the_threshold() -> None:
    points = curve([FALL, FALL, WALK, WALK], [5, 9, 5, -3])
    assert [(p.threshold, p.se, p.fa_per_h) for p in points] == [(-3, 100, 1), (5, 100, 0.5), (9, 50, 0)]
