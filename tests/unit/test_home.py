"""Light and sound follow the outcomes, and nothing but a person makes *help is informed* (protocols/wire.md)."""

from gateway.home import Home
from gateway.kinds import (
    FALL,
    HELP,
    OUTCOME_CLOSED,
    OUTCOME_DUPLICATE,
    OUTCOME_HANDED_OVER,
    OUTCOME_RETRY_LATER,
    OUTCOME_STORED,
    OUTCOME_TAKEN,
)


def alarmed():
    home = Home()
    home.online = True
    home.raised(7, FALL, 1000)
    return home


def test_TP_WIR_019_each_outcome_shows_its_signal():
    home = alarmed()
    shown = [home.signal(1001)]
    for outcome in (OUTCOME_STORED, OUTCOME_HANDED_OVER, OUTCOME_TAKEN, OUTCOME_CLOSED):
        home.outcome(5, 8, outcome, 2000)
        shown.append(home.signal(2001))
    assert shown == ["sending", "sent", "handed_over", "taken", "closed"], shown
    assert home.signal(2000 + 60_000) == "idle"


def test_TP_WIR_019_an_outcome_never_goes_back():
    home = alarmed()
    home.outcome(7, 7, OUTCOME_TAKEN, 2000)
    home.outcome(7, 7, OUTCOME_DUPLICATE, 3000)
    assert home.signal(3001) == "taken"


def test_TP_WIR_019_other_events_outcomes_change_nothing():
    home = alarmed()
    home.outcome(1, 6, OUTCOME_TAKEN, 2000)
    home.outcome(7, 7, OUTCOME_RETRY_LATER, 2000)
    assert home.signal(2001) == "sending"


def test_TP_BND_007_nobody_has_answered_after_sixty_seconds():
    for outcome in (None, OUTCOME_STORED, OUTCOME_HANDED_OVER):
        home = alarmed()
        if outcome is not None:
            home.outcome(7, 7, outcome, 2000)
        assert home.signal(60_999) != "nobody_answered"
        assert home.signal(61_000) == "nobody_answered"
        home.outcome(7, 7, OUTCOME_TAKEN, 62_000)
        assert home.signal(62_001) == "taken"


def test_the_newest_alarm_is_shown_and_cancelled_first():
    home = alarmed()
    home.outcome(7, 7, OUTCOME_TAKEN, 2000)
    home.raised(9, HELP, 3000)
    assert home.signal(3001) == "sending"
    assert home.newest_open() == (9, HELP)
    home.cancelled(9, 4000)
    assert home.newest_open() == (7, FALL)


def test_the_list_of_alarms_is_bounded():
    home = Home()
    for seq in range(1000):
        home.raised(seq, HELP, seq)
    assert len(home._alarms) == 16 and home.newest_open() == (999, HELP)


def test_without_contact_or_with_a_fault_the_home_says_so():
    home = Home()
    assert home.signal(0) == "no_contact"
    home.online = True
    assert home.signal(0) == "idle"
    home.faults.add(1)
    assert home.signal(0) == "fault"
    home.raised(1, FALL, 0)
    assert home.signal(0) == "sending"


def test_TP_WIR_037_of_two_open_alarms_the_newest_is_shown_in_whatever_order_they_are_told():
    home = alarmed()
    home.raised(9, HELP, 3000)
    home.outcome(7, 7, OUTCOME_TAKEN, 4000)
    assert home.signal(4001) == "sending"
    home.raised(3, FALL, 4002)  # from before this boot: its outcome came late
    home.outcome(3, 3, OUTCOME_TAKEN, 4003)
    assert home.signal(4004) == "sending" and home.newest_open() == (9, HELP)
    home.cancelled(9, 5000)
    assert home.signal(5001) == "taken", "one that is open, before one that is closed"


def test_TP_WIR_037_TP_BND_037_a_late_receipt_does_not_reopen_what_is_closed():
    home = alarmed()
    home.outcome(7, 7, OUTCOME_CLOSED, 2000)
    assert home.signal(61_999) == "closed" and home.signal(62_000) == "idle"
    assert home.knows(7)
    for outcome in (OUTCOME_STORED, OUTCOME_DUPLICATE, OUTCOME_TAKEN):
        home.outcome(7, 7, outcome, 100_000)
        assert home.signal(200_000) == "idle"
