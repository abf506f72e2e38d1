"""A case whose list becomes another one: every receiver of the new list is asked, in order (TP-REC-006)."""

import threading

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_duty import Duty, Receiver
from reception_world import HOUR, MINUTE, SECOND
from tryggport.reception import cases, channels, escalation
from tryggport.reception.channels import DELIVERED, Delivery
from tryggport.reception.escalation import Step
from tryggport.wire import kinds


def step(name):
    return Step("scaip", name, f"sips:{name}.example", 2 * MINUTE)


@pytest.fixture
def duty(each_database_url):  # noqa: F811
    made = Duty(each_database_url)
    made.begin()
    made.receivers |= {"third": Receiver(), "fourth": Receiver()}
    yield made
    made.running.close()
    made.close()


def change(duty, *names):
    escalation.set_steps(duty.centre, "Asker", [step(name) for name in names], "Ida")


def asked(duty):
    return {name: [n.event.seq for n in r.asked] for name, r in duty.receivers.items() if r.asked}


def tick_for(duty, minutes):
    for _ in range(2 * minutes):
        duty.tick(30 * SECOND)


@pytest.mark.parametrize("names", [("first",), ("first", "second", "third")])
def test_TP_REC_006_a_case_that_finds_its_home_goes_through_the_whole_list_of_its_municipality(duty, names):
    change(duty, *names)
    duty.alarm(1, gateway="loft-0003")
    channels.watch(duty.centre, "Nina", duty.now_ms)
    duty.tick()
    assert duty.went_to() == [("console", True)]
    duty.later(30 * SECOND)
    duty.install("Asker", "A-2", "loft-0003", cid="4712")
    duty.tick()
    assert duty.went_to() == [("console", True), ("first", True)]
    tick_for(duty, 10)
    assert duty.went_to() == [("console", True), *((name, True) for name in names)]
    assert asked(duty) == {name: [1] for name in names}
    assert duty.history().count("nobody has taken it, and nobody is left to tell") == 1


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("third", "fourth"), ["first", "second", "third", "fourth"]),
        (("first", "third"), ["first", "second", "third"]),
        (("second", "first"), ["first", "second", "second", "first"]),
        (("first", "second", "desk", "third"), ["first", "second", "desk", "third"]),
        (("first",), ["first", "second"]),
    ],
)
def test_TP_REC_006_a_new_list_holds_for_open_cases_from_the_first_other_receiver_on(duty, names, wanted):
    duty.receivers["desk"] = Receiver()
    change(duty, "first", "second", "desk")
    duty.alarm(0)
    duty.tick()
    tick_for(duty, 2)
    assert duty.went_to() == [("first", True), ("second", True)]
    change(duty, *names)
    tick_for(duty, 10)
    assert duty.went_to() == [(name, True) for name in wanted]
    assert asked(duty) == {name: [0] * wanted.count(name) for name in wanted}
    assert len({ref for r in duty.receivers.values() for ref in r.refs}) == 1
    assert ("goes through the new list" in duty.history()) == (names[:2] != ("first", "second"))
    assert duty.history()[-1] == "nobody has taken it, and nobody is left to tell"


def test_TP_REC_006_a_list_may_change_again_and_again_and_a_taken_case_s_later_alarm_goes_by_the_last(duty):
    duty.alarm(0)
    duty.tick()
    for names in (("third", "second"), ("second", "third"), ("third", "first"), ("fourth", "first")):
        change(duty, *names)
        duty.tick(SECOND)
    duty.tick(2 * MINUTE)
    assert [name for name, _ in duty.went_to()] == ["first", "third", "second", "third", "fourth", "first"]
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    change(duty, "second", "third")
    duty.later(HOUR)
    before = {name: len(r.asked) for name, r in duty.receivers.items()}
    duty.alarm(1, kinds.HELP)
    tick_for(duty, 3)
    new = {name: [n.event.seq for n in r.asked[before[name] :]] for name, r in duty.receivers.items()}
    assert new == {"first": [], "second": [0, 1], "third": [], "fourth": []}


def test_TP_REC_006_what_a_receiver_of_the_old_list_confirms_meanwhile_counts(duty):
    slow, begun = threading.Event(), threading.Event()

    class Slow:
        asked = ()

        def deliver(self, _notice):
            begun.set()
            slow.wait(20)
            return Delivery(DELIVERED, "at last")

    duty.receivers["first"] = Slow()
    duty.alarm(0)
    duty.running.tick()
    assert begun.wait(10)
    change(duty, "third")
    slow.set()
    duty.running.settle()
    assert duty.went_to() == [("first", True)]
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0])]
    duty.tick()
    assert duty.went_to() == [("first", True), ("third", True)]


def test_TP_REC_006_no_step_of_the_old_list_begins_behind_the_change(duty, monkeypatch):
    duty.alarm(0)
    duty.tick()
    look = duty.running._due_steps

    def slow(tx, now_ms):
        found = look(tx, now_ms)
        assert [position for _, position, _ in found] == [1]
        monkeypatch.undo()
        change(duty, "third", "fourth")
        return found

    monkeypatch.setattr(duty.running, "_due_steps", slow)
    duty.tick(2 * MINUTE)
    duty.tick()
    assert duty.went_to() == [("first", True), ("third", True)]
