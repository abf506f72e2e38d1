"""Light and sound follow the outcomes, and nothing but a person makes *help is informed* (protocols/wire.md)."""

from gateway import cbor
from gateway.home import Home
from gateway.kinds import (
    FALL,
    HELP,
    OUTCOME_CLOSED,
    OUTCOME_CONFLICT,
    OUTCOME_DUPLICATE,
    OUTCOME_HANDED_OVER,
    OUTCOME_RETRY_LATER,
    OUTCOME_STORED,
    OUTCOME_TAKEN,
    STATE_CLEARED,
    STATE_RAISED,
)
from gateway.recall import recall
from memory_store import Memory


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


class Pending:
    """The journal as `recall` sees it."""

    def __init__(self, boot, *pending):
        self.boot = boot
        self._pending = pending

    def pending(self, limit):
        return iter(self._pending)


def event(seq, state=STATE_RAISED, ref=None):
    return cbor.encode({3: seq, 8: HELP, 9: state, 11: ref})


def after_power_cut(store, *pending, boot=2):
    """The home of the next boot; `boot`: which one of the journal."""
    home = Home(store)
    recall(home, store, Pending(boot, *pending), 300)
    return home


def test_TP_WIR_053_what_was_shown_of_an_alarm_is_shown_after_a_power_cut():
    for outcome, shown in (
        (OUTCOME_STORED, "sent"),
        (OUTCOME_CONFLICT, "sent"),
        (OUTCOME_HANDED_OVER, "handed_over"),
        (OUTCOME_TAKEN, "taken"),
    ):
        store = Memory()
        home = Home(store)
        home.raised(7, FALL, 1000)
        home.outcome(7, 7, outcome, 1500)
        again = after_power_cut(store)
        assert again.signal(301) == shown == home.signal(1501)
        assert again.newest_open() == (7, FALL)
        assert again.signal(60_300) == ("taken" if shown == "taken" else "nobody_answered")
        again.outcome(7, 7, OUTCOME_CLOSED, 70_000)
        assert again.signal(70_001) == "closed"


def test_TP_WIR_053_what_was_closed_before_a_power_cut_is_not_shown_and_not_reopened():
    store = Memory()
    home = Home(store)
    home.online = True
    home.raised(7, FALL, 1000)
    home.cancelled(7, 1500)
    again = after_power_cut(store, (7, True, event(7)), (8, True, event(8, STATE_CLEARED, 7)))
    again.online = True
    assert again.signal(301) == "idle" and again.newest_open() is None
    again.outcome(7, 7, OUTCOME_TAKEN, 400)
    assert again.signal(401) == "idle"


def test_TP_WIR_053_the_journal_has_what_has_no_outcome_yet():
    store = Memory()
    home = Home(store)
    home.raised(7, FALL, 1000)
    assert store.values == {}, "each press is one write of flash, not two"
    home.raised(9, HELP, 1000)
    home.outcome(7, 7, OUTCOME_STORED, 1500)
    both = ((7, True, event(7)), (9, True, event(9)), (10, False, event(10)), (11, True, event(11)))
    again = after_power_cut(store, *both)  # the power went before the journal settled 7
    assert again.newest_open() == (9, HELP) and again.signal(301) == "sending"
    again.cancelled(9, 400)
    assert again.signal(401) == "sent" and again.newest_open() == (7, FALL)


def test_TP_WIR_053_alarms_of_a_journal_that_is_gone_are_not_shown():
    store = Memory()
    home = Home(store)
    home.raised(7, FALL, 1000)
    home.outcome(7, 7, OUTCOME_STORED, 1500)
    for boot in (1, 2):  # a new journal gives the numbers anew: alarm 7 is another one then
        again = after_power_cut(store, (7, True, event(7)), boot=boot)
        assert again.newest_open() == (7, HELP) and again.signal(301) == "sending"


def test_TP_BND_042_the_newest_sixteen_outlive_a_power_cut():
    store = Memory()
    home = Home(store)
    for seq in range(2**32 - 100, 2**32 - 50):
        home.raised(seq, HELP, seq)
    home.outcome(0, 2**32, OUTCOME_TAKEN, 1)
    assert len(store.values["home"]) <= 256
    again = after_power_cut(store)
    assert [alarm[0] for alarm in again._alarms] == list(range(2**32 - 66, 2**32 - 50))


def test_worn_flash_does_not_keep_an_outcome_from_being_shown():
    class Worn(Memory):
        def put(self, name, value):
            raise OSError(5)

    home = Home(Worn())
    home.raised(7, FALL, 1000)
    home.outcome(7, 7, OUTCOME_TAKEN, 1500)
    assert home.signal(1501) == "taken"


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
    for outcome in (OUTCOME_STORED, OUTCOME_DUPLICATE, OUTCOME_TAKEN):
        home.outcome(7, 7, outcome, 100_000)
        assert home.signal(200_000) == "idle"
