"""A fall with a grace is held back by the reception's own timer, here 20 s (TP-REC-004)."""

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_world import SECOND, START_MS, World
from tryggport.reception import (
    channels,
    escalation,
    grace,
    supervision,
    views,
)
from tryggport.wire import kinds

GRACE = {kinds.DATA_GRACE_MS: 20_000}


@pytest.fixture
def world(each_database_url):  # noqa: F811
    made = World(each_database_url)
    yield made
    made.close()


def timer(world):
    return supervision.Supervisor(world.db, world.clock).promote()


def held_case(world):
    """A fall with grace in a home that is alive."""
    world.say()
    world.alarm(0, data=GRACE)
    world.told()
    assert world.cases(held=True)[0]["present_ms"] == world.now_ms + 20_000


def seen(world, monkeypatch):
    """What people see at the world's time."""
    monkeypatch.setattr(views, "now_ms", world.clock)
    return [case["id"] for case in world.cases()]


def test_TP_REC_004_a_fall_is_held_back_until_its_grace_ends_over_a_restart(world, monkeypatch):
    held_case(world)
    assert seen(world, monkeypatch) == [] and views.changes(world.centre) == []
    world.later(19_999)
    assert (timer(world), seen(world, monkeypatch)) == (0, [])
    world.close()
    world.open()  # the reception starts anew: the timer stands in the database
    world.later(1)
    assert seen(world, monkeypatch) == [1]
    assert (timer(world), timer(world)) == (1, 0)
    assert world.history() == ["fall", "presented: the grace ended"]
    assert world.case()["status"] == "new"


def test_TP_REC_004_a_fall_that_tears_out_the_plug_is_presented_when_the_gateway_falls_silent(world, monkeypatch):
    held_case(world)
    world.later(5 * SECOND)
    assert timer(world) == 0
    world.say(online=False)  # the broker speaks the will
    assert timer(world) == 1
    assert seen(world, monkeypatch) == [1]
    assert world.history()[-1] == "presented: the gateway fell silent"


@pytest.mark.parametrize("then", ["help", "long lie", "fall without grace"])
def test_TP_REC_004_whatever_has_no_grace_presents_the_case(world, monkeypatch, then):
    held_case(world)
    world.later(SECOND)
    if then == "help":
        world.alarm(1, kinds.HELP)
    elif then == "long lie":
        world.alarm(1, state=kinds.STATE_UPDATED, ref=0, data={kinds.DATA_VERDICT: kinds.VERDICT_LONG_LIE})
    else:
        world.alarm(1)
    assert seen(world, monkeypatch) == [1]


@pytest.mark.parametrize("together", [False, True])
def test_TP_REC_004_a_cancel_within_the_grace_closes_the_case(world, monkeypatch, together):
    fall, cancel = world.event(0, data=GRACE), world.event(1, state=kinds.STATE_CLEARED, ref=0)
    for batch in [[cancel, fall]] if together else [[fall], [cancel]]:
        world.arrive(*batch)
        world.later(SECOND)
    assert world.told() == [("kitchen-7", kinds.OUTCOME_CLOSED, [0])]
    (case,) = world.cases(held=True)
    assert (case["status"], case["cause"], case["closed_by"]) == ("closed", "cancelled", "kitchen-7")
    assert sorted(world.history()) == ["cancelled", "closed: cancelled in the home within the grace", "fall"]
    world.alarm(2)
    assert [c["status"] for c in world.cases(held=True)] == ["new", "closed"]


def test_TP_REC_004_a_cancel_after_the_grace_or_of_one_fall_of_two_only_marks(world, monkeypatch):
    held_case(world)
    world.alarm(1, data=GRACE)
    world.alarm(2, state=kinds.STATE_CLEARED, ref=0)
    assert world.cases(held=True)[0]["status"] == "new"
    world.later(20_000)
    world.alarm(3, state=kinds.STATE_CLEARED, ref=1)  # the timer was not there yet; the grace is over all the same
    assert world.cases(held=True)[0]["status"] == "new"
    assert world.cases(held=True)[0]["cancelled_ms"] is not None


@pytest.mark.parametrize(
    ("fields", "held_ms"),
    [
        ({"data": {kinds.DATA_GRACE_MS: 9_000_000}}, grace.GRACE_MAX_MS),
        ({"data": {kinds.DATA_GRACE_MS: "long"}}, None),
        ({"data": {kinds.DATA_GRACE_MS: 0}}, None),
        ({"data": GRACE, "kind": kinds.HELP}, None),
        ({"data": GRACE, "utc_ms": START_MS - 15_000, "quality": kinds.QUALITY_SYNCED}, 5_000),
        ({"data": GRACE, "utc_ms": START_MS - 30_000, "quality": kinds.QUALITY_SYNCED}, None),
        ({"data": GRACE, "utc_ms": START_MS - 30_000, "quality": kinds.QUALITY_HOLDOVER}, 20_000),
    ],
)
def test_TP_REC_004_grace_is_bounded_and_counted_from_the_fall(world, fields, held_ms):
    world.alarm(0, **fields)
    until = world.cases(held=True)[0]["present_ms"]
    assert (until and until - START_MS) == held_ms


def test_a_held_case_is_not_escalated(world):
    held_case(world)
    console = channels.Console(world.db, world.clock)
    made = escalation.Escalation(world.db, lambda step: console, world.clock)
    made.tick()
    assert world.case()["escalation"] == []
    world.later(20_000)
    made.tick()
    made.settle()
    assert [step["name"] for step in world.case()["escalation"]] == ["console"]
    made.close()
