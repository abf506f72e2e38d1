"""Alarms that join a case which somebody has: none is taken for seen before a receiver or a person has it (TP-REC-006, TP-REC-008)."""

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from reception_duty import Duty
from reception_world import HOUR, MINUTE, SECOND
from tryggport.errors import TryggError
from tryggport.reception import cases, store, supervision, views
from tryggport.reception.channels import DELIVERED, UNDELIVERED
from tryggport.wire import kinds
from tryggport.wire.event import Unreadable


@pytest.fixture
def duty(each_database_url):  # noqa: F811
    made = Duty(each_database_url)
    made.begin()
    yield made
    made.running.close()
    made.close()


@pytest.mark.parametrize("who", ["Kari", "Ola"])
def test_TP_REC_008_a_case_with_an_alarm_that_nobody_has_seen_is_not_closed(duty, who):
    duty.alarm(0)
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    cases.on_the_way(duty.asker, 1, "Kari", duty.now_ms)
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    with pytest.raises(TryggError, match="has come since somebody took case 1") as e:
        cases.close(duty.asker, 1, "Kari", "false alarm", at_ms=duty.now_ms + 1)
    assert "tryggport cases take 1 --by NAME" in e.value.hint
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]
    cases.take(duty.asker, 1, who, duty.now_ms + 2)
    assert (duty.case()["status"], duty.case()["taken_by"]) == ("on the way", who)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])]
    line = duty.case()["history"][-1]
    assert (line["who"], line["what"], line["before"], line["after"]) == (who, "has seen what came since", "Kari", who)
    with pytest.raises(TryggError, match="is taken already, by"):
        cases.take(duty.asker, 1, "Nina", duty.now_ms + 3)
    cases.close(duty.asker, 1, "Kari", "false alarm", at_ms=duty.now_ms + 3)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_CLOSED, [0, 1])]


def test_TP_REC_008_a_receiver_that_has_the_alarm_is_enough_to_close_and_test_alarms_need_none(duty):
    duty.alarm(0)
    duty.alarm(0, gateway="loft-0003", test=True)
    for case_id in (1, 2):
        cases.take(duty.centre, case_id, "Kari", duty.now_ms)
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    duty.alarm(1, kinds.HELP, "loft-0003", test=True)
    cases.close(duty.centre, 2, "Kari", "test", at_ms=duty.now_ms)
    duty.tick()
    duty.tick()
    cases.close(duty.centre, 1, "Kari", "fall", at_ms=duty.now_ms)
    assert {case["status"] for case in duty.cases()} == {"closed"}


def test_TP_REC_008_who_takes_a_case_has_seen_what_is_in_it_though_his_clock_is_behind(duty):
    duty.alarm(0)
    cases.take(duty.asker, 1, "Kari", duty.now_ms - HOUR)
    duty.later(MINUTE)
    duty.alarm(1, kinds.HELP)
    with pytest.raises(TryggError, match="has come since"):
        cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms - HOUR)
    cases.take(duty.asker, 1, "Kari", duty.now_ms - HOUR)
    cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms - HOUR)


@pytest.mark.parametrize("ahead_ms", [5, HOUR])
def test_TP_REC_008_an_alarm_that_waits_while_the_case_is_taken_has_not_been_seen(duty, ahead_ms):
    """It was received, by this machine's clock, before the case was taken by another's; it joined it later."""
    duty.receivers["first"].answers = duty.receivers["second"].answers = [UNDELIVERED]
    duty.alarm(0)
    duty.tick()
    duty.later(SECOND)
    cases.take(duty.asker, 1, "Kari", duty.now_ms + ahead_ms)
    duty.told()
    duty.alarm(1, kinds.HELP)
    duty.say(connect=2)
    assert duty.told() == [("kitchen-7", kinds.OUTCOME_TAKEN, [0])]
    with pytest.raises(TryggError, match="has come since"):
        cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms + ahead_ms)
    duty.receivers["first"].answers = [DELIVERED]
    for _ in range(2):
        duty.tick(10 * SECOND)
        duty.tick()
    assert [n.event.seq for n in duty.receivers["first"].asked[1:]] == [0, 1]
    assert duty.told()[-1] == ("kitchen-7", kinds.OUTCOME_TAKEN, [0, 1])


def test_TP_REC_008_an_alarm_that_commits_behind_the_one_who_takes_its_case_has_not_been_seen(duty):
    """The service reads its clock, then waits for the database."""
    duty.alarm(0)
    duty.later(SECOND)
    waited = []

    def meanwhile(name, _detail):
        if name == "commit.begun" and not waited:
            waited.append(name)
            if duty.db.is_postgresql:  # SQLite lets nobody write in between
                cases.take(duty.asker, 1, "Kari", duty.now_ms + MINUTE)

    if not duty.db.is_postgresql:
        cases.take(duty.asker, 1, "Kari", duty.now_ms + MINUTE)
    alarm = duty.event(1, kinds.HELP)
    store.commit(duty.db, [store.Arrival(alarm.gateway, True, alarm)], [], duty.now_ms, meanwhile)
    with pytest.raises(TryggError, match="has come since"):
        cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms + MINUTE)


def unreadable(duty):
    item = Unreadable(b"\x81\x01", "not a map")
    store.commit(duty.db, [store.Arrival("kitchen-7", True, item)], [], duty.now_ms)


def conflict(duty):
    assert duty.alarm(0, kinds.HELP)[0].outcome == kinds.OUTCOME_CONFLICT


@pytest.mark.parametrize("raw", [unreadable, conflict])
def test_TP_REC_006_what_is_no_event_and_joins_a_case_goes_to_who_has_it_once(duty, raw):
    duty.alarm(0)
    duty.tick()
    duty.later(SECOND)
    raw(duty)
    duty.tick()
    duty.restart()
    raw(duty)  # the gateway sends it again
    duty.tick()
    (_, notice) = duty.receivers["first"].asked
    assert (notice.event, notice.kind, notice.received_ms) == (None, "unreadable", duty.now_ms)
    assert len({*duty.receivers["first"].refs}) == 2
    duty.tick(2 * MINUTE)
    duty.tick()
    assert duty.receivers["second"].refs == duty.receivers["first"].refs


@pytest.mark.parametrize("raw", [unreadable, conflict])
def test_TP_REC_006_what_is_no_event_and_joins_a_taken_case_goes_down_the_list_until_one_has_it(duty, raw):
    duty.alarm(0)
    duty.tick()
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.receivers["first"].answers = [UNDELIVERED]
    duty.later(HOUR)
    raw(duty)
    duty.tick()
    with pytest.raises(TryggError, match="has come since"):
        cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms)
    duty.tick(MINUTE - SECOND)
    assert duty.receivers["second"].asked == []
    duty.tick(SECOND)
    duty.tick()
    assert [n.event and n.event.seq for n in duty.receivers["second"].asked] == [0, None]
    duty.tick(2 * MINUTE)
    assert [name for name, _ in duty.went_to()] == ["first", "second"]
    cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms)


@pytest.mark.parametrize("raw", [unreadable, conflict])
def test_TP_REC_008_what_is_no_event_stands_on_the_work_list_until_somebody_has_seen_it(duty, raw):
    def lines():
        supervision.Supervisor(duty.db, duty.clock).tick()
        return [row["sentence"] for row in views.work_list(duty.asker) if row["kind"] == "unanswered"]

    duty.alarm(0)
    cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.later(SECOND)
    raw(duty)
    duty.later(MINUTE)
    (line,) = lines()
    assert "since Kari took case 1" in line
    cases.take(duty.asker, 1, "Ola", duty.now_ms)
    assert lines() == []
    cases.close(duty.asker, 1, "Ola", "fall", at_ms=duty.now_ms)


@pytest.mark.parametrize("taken", [True, False])
def test_TP_REC_006_at_the_end_of_the_list_a_receiver_that_was_down_is_tried_again(duty, taken):
    """The first is down and the second has the case; then the first returns, the second dies, and an alarm joins."""
    duty.receivers["first"].answers = [UNDELIVERED]
    duty.alarm(0)
    for _ in range(7):
        duty.tick(10 * SECOND)
    assert duty.went_to() == [("first", False), ("second", True)]
    if taken:
        cases.take(duty.asker, 1, "Kari", duty.now_ms)
    duty.receivers["first"].answers = [DELIVERED]
    duty.receivers["second"].answers = [UNDELIVERED]
    asked = len(duty.receivers["first"].asked)
    duty.later(HOUR)
    duty.alarm(1, kinds.HELP)
    for _ in range(11 if taken else 6):
        duty.tick(10 * SECOND)
    assert duty.went_to()[2] == ("desk", False) and len(duty.receivers["first"].asked) == asked
    for _ in range(3):
        duty.tick(10 * SECOND)
    assert [n.event.seq for n in duty.receivers["first"].asked[asked:]] == [0, 1]
    end = "an alarm that came since has reached nobody" if taken else "nobody has taken it"
    assert duty.history().count(f"{end}, and nobody is left to tell") == 1
    if taken:
        cases.close(duty.asker, 1, "Kari", "fall", at_ms=duty.now_ms)
