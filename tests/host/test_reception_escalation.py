"""Escalation: whom a case goes to, in order, and that nothing is told twice or told too much (TP-REC-006 to TP-REC-009)."""

import threading
import time
from pathlib import Path

import pytest
from reception_databases import database_url, postgres  # noqa: F401
from reception_duty import Duty
from reception_world import HOUR, MINUTE, SECOND
from tryggport.errors import TryggError
from tryggport.reception import canary, cases, channels, escalation, findings, supervision, timers, views
from tryggport.reception.channels import DELIVERED, REFUSED, UNDELIVERED, Delivery
from tryggport.reception.escalation import Escalation, Step, next_step
from tryggport.wire import kinds


@pytest.fixture
def duty(database_url):  # noqa: F811
    made = Duty(database_url)
    made.begin()
    yield made
    made.running.close()
    made.close()


def test_TP_REC_006_a_busy_receiver_gives_way_to_the_next_after_60_s_and_taken_ends_it(duty):
    duty.receivers["first"].answers = [UNDELIVERED]
    duty.alarm(0)
    duty.tick()
    for _ in range(5):
        duty.tick(10 * SECOND)
    assert duty.went_to() == [("first", False)] and len(duty.receivers["first"].asked) == 6
    duty.tick(9 * SECOND)
    assert duty.receivers["second"].asked == []
    assert duty.told() == []  # nobody has it: the home hears nothing
    duty.tick(SECOND)
    assert duty.went_to() == [("first", False), ("second", True)]
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0])]
    assert len({*duty.receivers["first"].refs, *duty.receivers["second"].refs}) == 1  # one alarm, one ref
    tried = len(duty.receivers["first"].asked)
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]
    for _ in range(5):
        duty.tick(5 * MINUTE)
    assert len(duty.receivers["first"].asked) == tried and len(duty.receivers["second"].asked) == 1
    assert duty.went_to() == [("first", False), ("second", True)]
    notice = duty.receivers["second"].asked[0]
    assert (notice.home, notice.cid, notice.call_back, notice.kind, notice.municipality) == (
        "A-1", "4711", "+4712345678", "fall", "Asker"
    )  # fmt: skip
    assert notice.event.seq == 0


def test_TP_REC_006_delivered_but_not_taken_goes_on_after_the_step_s_own_wait(duty):
    duty.alarm(0)
    duty.tick()
    duty.tick(2 * MINUTE - 1)
    assert duty.went_to() == [("first", True)]
    duty.tick(1)
    assert duty.went_to() == [("first", True), ("second", True)]
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0])] * 2
    channels.watch(duty.asker, "Kari", duty.now_ms + 2 * MINUTE - SECOND)
    duty.tick(2 * MINUTE)
    assert duty.went_to()[2] == ("desk", True)
    assert "handed over to desk: Kari looks" in duty.history()
    for _ in range(4):
        duty.tick(2 * MINUTE)
    assert [len(r.asked) for r in duty.receivers.values()] == [1, 1]  # nobody is told twice
    assert duty.history().count("nobody has taken it, and nobody is left to tell") == 1


def test_TP_REC_006_a_refusal_goes_on_at_once(duty):
    duty.receivers["first"].answers = [REFUSED]
    duty.alarm(0)
    duty.tick()
    duty.tick()
    assert duty.went_to() == [("first", False), ("second", True)]
    assert len(duty.receivers["first"].asked) == 1


@pytest.mark.parametrize("fault", [TryggError("The address is wrong."), RuntimeError("a fault of ours")])
def test_TP_REC_006_a_way_that_breaks_does_not_keep_the_alarm_from_the_next(duty, fault):
    duty.receivers["first"].answers = [fault]
    duty.alarm(0)
    duty.tick()
    duty.tick(MINUTE)
    assert duty.went_to() == [("first", False), ("second", True)]


def test_TP_REC_006_while_nobody_has_it_all_are_tried_and_then_only_who_has_it(duty):
    duty.receivers["first"].answers = [UNDELIVERED] * 8 + [DELIVERED]
    duty.receivers["second"].answers = [UNDELIVERED]
    duty.alarm(0)
    duty.tick()
    for _ in range(9):
        duty.tick(10 * SECOND)
    assert duty.went_to() == [("first", True), ("second", False)]
    tried = len(duty.receivers["second"].asked)
    duty.tick(20 * SECOND)
    assert len(duty.receivers["second"].asked) == tried + 1  # it still is its turn
    for _ in range(3):
        duty.tick(10 * SECOND)
    assert duty.went_to()[2:] == [("desk", False)]
    assert len(duty.receivers["second"].asked) == tried + 1  # the first has it, and the desk is next


def test_TP_REC_007_a_restart_goes_on_where_it_was_and_tells_nobody_twice(duty):
    duty.receivers["first"].answers = [UNDELIVERED]
    duty.alarm(0)
    duty.tick()
    duty.later(30 * SECOND)
    duty.restart()
    duty.tick()
    assert duty.went_to() == [("first", False)]
    duty.tick(30 * SECOND)  # 60 s after it began, not after the restart
    assert duty.went_to() == [("first", False), ("second", True)]
    duty.restart()
    for _ in range(11):
        duty.tick(10 * SECOND)
    assert len(duty.receivers["second"].asked) == 1
    assert len(set(duty.receivers["first"].refs)) == 1


def test_TP_REC_007_two_receptions_on_one_database_begin_each_step_once(duty):
    other = Escalation(duty.db, duty.channel_of, duty.clock)
    duty.alarm(0)
    for _ in range(3):
        duty.tick()
        other.tick()
        other.settle()
    assert duty.went_to() == [("first", True)]
    assert len(duty.receivers["first"].asked) == 1
    assert [what for what in duty.history() if what.startswith("goes to")] == ["goes to first"]
    other.close()


def test_TP_REC_007_an_attempt_under_way_is_left_to_its_worker(duty):
    """While the first worker waits for an answer the second asks nobody; when the first has died, it does, with the same ref."""
    slow, asked = threading.Event(), threading.Event()

    class Slow:
        def deliver(self, notice):
            asked.set()
            slow.wait(20)
            return Delivery(UNDELIVERED)

    other = Escalation(duty.db, lambda step: Slow(), duty.clock)
    duty.alarm(0)
    other.tick()
    assert asked.wait(10)
    duty.tick(20 * SECOND)
    assert duty.receivers["first"].asked == []
    duty.tick(10 * SECOND)
    assert len(duty.receivers["first"].asked) == 1
    slow.set()
    other.settle()
    other.close()
    assert duty.went_to() == [("first", True)]


def test_TP_REC_009_a_part_of_the_timers_that_fails_keeps_no_other_from_its_work(duty):
    class Broken:
        def promote(self):
            raise RuntimeError("a fault of ours")

        def tick(self):
            raise TryggError("The database fails.")

    said = []
    duty.alarm(0)
    with timers.Timers(duty.db, Broken(), duty.running, say=said.append, beat_s=0.01, look_s=0.01):
        deadline = time.monotonic() + 10
        while not duty.receivers["first"].asked and time.monotonic() < deadline:
            time.sleep(0.01)
    assert duty.receivers["first"].asked
    assert {"fault in this program: RuntimeError('a fault of ours')", "The database fails."} <= set(said)
    assert "timers" not in views.vital_signs(duty.centre)  # so the canary will say that it does not work
    with timers.Timers(duty.db, supervision.Supervisor(duty.db, duty.clock), Escalation(duty.db, duty.channel_of, duty.clock),
                       say=said.append, beat_s=0.01, look_s=0.01):  # fmt: skip
        while "timers" not in views.vital_signs(duty.centre) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "timers" in views.vital_signs(duty.centre)


def test_TP_REC_007_later_alarms_and_a_cancel_go_to_who_has_the_case_in_order(duty):
    duty.alarm(0)
    duty.tick()
    duty.told()
    duty.alarm(1, kinds.HELP)
    duty.alarm(2, state=kinds.STATE_CLEARED, ref=0)
    assert duty.told() == []  # the new alarm is not handed over yet
    duty.receivers["first"].answers = [UNDELIVERED, DELIVERED]
    duty.tick()
    assert [(n.event.seq, n.state) for n in duty.receivers["first"].asked] == [(0, "raised"), (1, "raised")]
    duty.tick(10 * SECOND)
    duty.tick()
    assert [n.event.seq for n in duty.receivers["first"].asked] == [0, 1, 1, 2]
    assert duty.receivers["second"].asked == []
    assert (duty.told()[0]) == ("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0, 1])
    cases.take(duty.asker, 1, "Kari")
    duty.alarm(3, kinds.HELP)
    duty.tick()
    assert duty.receivers["first"].asked[-1].event.seq == 3  # the operator hears of it too
    cases.close(duty.asker, 1, "Kari", "fall")
    duty.tick(MINUTE)
    assert len(duty.receivers["first"].asked) == 5


def test_TP_REC_008_the_home_hears_handed_over_only_when_delivered_and_at_each_birth(duty):
    duty.receivers["first"].answers = [UNDELIVERED, DELIVERED]
    duty.alarm(0)
    duty.say()
    duty.tick()
    assert duty.told() == []
    duty.tick(10 * SECOND)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0])]
    duty.say(connect=2)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_HANDED_OVER, [0])]


def test_TP_REC_008_of_an_alarm_that_joins_a_taken_case_the_home_hears_taken_when_a_receiver_has_it(duty):
    duty.alarm(0)
    duty.tick()
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.told()
    duty.receivers["first"].answers = [UNDELIVERED, DELIVERED]
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    duty.tick()
    duty.say(connect=2)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]
    duty.tick(10 * SECOND)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])]


@pytest.mark.parametrize("answer", [UNDELIVERED, REFUSED])
def test_TP_REC_006_an_alarm_that_joins_a_taken_case_goes_down_the_list_until_one_has_it(duty, answer):
    duty.alarm(0)
    duty.tick()
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.receivers["first"].answers = duty.receivers["second"].answers = [answer]
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    for _ in range(12):
        duty.tick(10 * SECOND)
        supervision.Supervisor(duty.db, duty.clock).tick()
    assert {n.event.seq for n in duty.receivers["second"].asked} == ({0, 1} if answer == UNDELIVERED else {0})
    assert duty.went_to() == [("first", True), ("second", False), ("desk", False)]
    (row,) = [row for row in views.work_list(duty.asker) if row["kind"] == "unanswered"]
    assert "since Kari took case 1" in row["sentence"]
    for _ in range(7):
        duty.tick(10 * SECOND)
    assert duty.history()[-1] == "an alarm that came since has reached nobody, and nobody is left to tell"
    duty.receivers["first"].answers = [DELIVERED]
    duty.told()
    duty.tick(10 * SECOND)
    if answer == UNDELIVERED:
        assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])]
        supervision.Supervisor(duty.db, duty.clock).tick()
        assert "unanswered" not in [row["kind"] for row in views.work_list(duty.asker)]


def test_TP_REC_006_a_case_taken_before_any_receiver_has_it_still_sends_on_what_joins_it(duty):
    duty.alarm(0)
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.tick()
    assert duty.receivers["first"].asked == []
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    duty.tick()
    duty.tick()
    assert [n.event.seq for n in duty.receivers["first"].asked] == [0, 1]


def test_TP_REC_003_no_step_begins_for_a_case_that_is_taken_meanwhile(duty, monkeypatch):
    duty.alarm(0)
    look = duty.running._due_steps

    def slow(tx, now_ms):
        found = look(tx, now_ms)
        cases.take(duty.asker, 1, "Kari", duty.now_ms)
        return found

    monkeypatch.setattr(duty.running, "_due_steps", slow)
    duty.tick()
    assert duty.history()[-1] == "taken" and duty.went_to() == []


def test_TP_REC_008_nobody_watching_means_that_taken_is_never_sent(duty):
    """The whole list answers, machines all of them, for a day: the home never hears that help is informed."""
    duty.alarm(0)
    told = []
    for _ in range(100):
        duty.tick(15 * MINUTE)
        duty.say(uptime_ms=duty.now_ms, connect=duty.now_ms)
        told += duty.told()
    assert {outcome for _, outcome, _ in told} == {kinds.OUTCOME_HANDED_OVER}
    assert duty.went_to()[2] == ("desk", False)  # nobody looks at the console
    supervision.Supervisor(duty.db, duty.clock).tick()
    assert [row["kind"] for row in views.work_list(duty.asker) if row["kind"] == "unanswered"] == ["unanswered"]
    cases.take(duty.asker, 1, "Kari")
    supervision.Supervisor(duty.db, duty.clock).tick()
    assert "unanswered" not in [row["kind"] for row in views.work_list(duty.asker)]


def test_test_alarms_go_to_nobody_and_an_unreadable_one_goes_to_all(duty):
    duty.alarm(0, test=True)
    duty.tick()
    assert duty.case()["escalation"] == []
    duty.alarm(1, gateway="loft-0003")  # in no home: the console of the centre
    duty.tick()
    assert [step["name"] for step in duty.case(2)["escalation"]] == ["console"]


def test_an_outage_is_handed_over_too(duty):
    for number in range(6):
        duty.install("Asker", f"N-{number}", f"north-{number:04}")
        duty.say(f"north-{number:04}")
    duty.later(15 * MINUTE)
    supervision.Supervisor(duty.db, duty.clock).tick()
    duty.tick()
    (notice,) = duty.receivers["first"].asked
    assert (notice.kind, notice.gateway, notice.event) == ("outage", "", None)
    assert notice.about.startswith("outage: 6 gateways in Asker")


def test_TP_BND_060_to_069_the_times_of_the_reception():
    """TP-BND-060, TP-BND-061, TP-BND-062, TP-BND-063, TP-BND-064, TP-BND-065, TP-BND-066, TP-BND-067, TP-BND-068, TP-BND-069."""
    page = (Path(__file__).parents[2] / "protocols" / "bounds.md").read_text()
    for name, value in (
        ("060", f"{escalation.UNDELIVERED_MS // 1000} s"), ("061", f"{escalation.RETRY_MS // 1000} s"),
        ("062", str(escalation.AT_ONCE)),
        ("063", f"every {canary.EVERY_S:g} s, {canary.AGAIN_S:g} s after a failure; after {findings.DEFAULTS.canary_ms // 1000} s without"),
        ("064", f"{canary.ANSWER_S:g} s"), ("065", f"every {timers.BEAT_S:g} s"), ("066", f"every {timers.LOOK_S:g} s"),
        ("069", f"{escalation.CLAIM_MS // 1000} s"), ("067", f"{channels.TIMEOUT_S:g} s"), ("068", f"{channels.WATCH_MS // 1000} s after"),
    ):  # fmt: skip
        (line,) = [line for line in page.splitlines() if f"TP-BND-{name} " in line]
        assert f"| {value}" in line, line
    assert canary.PULSE_TIMEOUT_S == channels.TIMEOUT_S


class Row:
    def __init__(self, position, started_ms, delivered_ms=None, refused=False):
        self.position, self.started_ms, self.delivered_ms, self.refused = position, started_ms, delivered_ms, refused


@pytest.mark.parametrize(
    ("begun", "now_ms", "wanted"),
    [
        ([], 0, 0), ([Row(0, 0)], 59_999, None), ([Row(0, 0)], 60_000, 1), ([Row(0, 0, refused=True)], 1, 1),
        ([Row(0, 0, 50_000)], 149_999, None), ([Row(0, 0, 50_000)], 150_000, 1), ([Row(0, 0), Row(1, 5)], 60_005, 2),
        ([Row(1, 0, 0)], 60_000, 2), ([Row(7, 0, 0)], 60_000, 2),
    ],
)  # fmt: skip
def test_the_next_step(begun, now_ms, wanted):
    listed = [Step("console", "a", "", 100_000), Step("console", "b", "", 60_000)]
    assert next_step(listed, begun, now_ms, 60_000) == wanted


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Step("fax", "a", "x"), "no way 'fax'"),
        (Step("scaip", "a", ""), "lacks"),
        (Step("console", "a", "", 0), "lacks"),
    ],
)
def test_a_bad_list_is_refused_and_the_old_one_stays(duty, step, sentence):
    with pytest.raises(TryggError, match=sentence):
        escalation.set_steps(duty.centre, "Asker", [step], "Ida")
    assert [row["name"] for row in views.list_steps(duty.asker, "Asker")] == ["first", "second", "desk"]
