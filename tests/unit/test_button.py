"""One press is one press, however the contact bounces and however late somebody asks."""

from gateway.drivers import button as button_module
from gateway.drivers.button import Button
from ticks import Ticks


class Contact:
    """A pin that is played: `at(ms, level)` sets it and runs the interrupt when the level has changed."""

    IRQ_FALLING = 2
    IRQ_RISING = 1

    def __init__(self, level=1):
        self.level = level
        self.now = 1000

    def __call__(self):
        return self.level

    def irq(self, handler, trigger):
        assert trigger == 3
        self.handler = handler

    def ticks(self):
        return self.now

    def at(self, ms, level):
        self.now = 1000 + ms
        if level != self.level:
            self.level = level
            self.handler(self)


def presses(edges, asked_every_ms=10, until_ms=500, level=1):
    """Times at which a press was told. `edges`: (ms, level)."""
    contact = Contact(level)
    button = Button(contact, contact.ticks)
    told = []
    edges = list(edges)
    for ms in range(until_ms):
        while edges and edges[0][0] == ms:
            contact.at(*edges.pop(0))
        contact.now = 1000 + ms
        if not ms % asked_every_ms and button.pressed():
            told.append(ms)
    return told


def test_a_press_is_told_once_after_30_ms():
    assert presses([(100, 0), (400, 1)]) == [130]


def test_two_presses_are_two():
    assert presses([(100, 0), (180, 1), (250, 0), (330, 1)]) == [130, 280]


def test_bounces_are_one_press():
    assert presses([(100, 0), (101, 1), (103, 0), (200, 1), (202, 0), (206, 1)]) == [140]


def test_spikes_are_none():
    assert presses([(100, 0), (110, 1), (115, 0), (130, 1), (200, 0), (229, 1)]) == []


def test_a_short_opening_does_not_make_two_of_a_long_press():
    assert presses([(100, 0), (200, 1), (210, 0), (400, 1)]) == [130]


def test_a_press_that_was_over_before_somebody_asked_counts():
    assert presses([(100, 0), (160, 1)], asked_every_ms=450) == [450]


def test_a_button_that_is_held_at_power_on_counts():
    assert presses([(60, 1)], level=0) == [30]
    assert presses([(20, 1)], level=0) == []


def test_a_press_of_which_both_edges_are_heard_too_late_counts_once():
    """The contact closes and opens while flash is erased: the interrupts run when the contact is open again."""
    for blind_ms, told in ((400, 1), (20, 0)):  # in 20 ms there is no press
        contact = Contact()
        button = Button(contact, contact.ticks)
        contact.now += 100
        assert not button.pressed()
        contact.now += blind_ms
        contact.handler(contact)
        contact.handler(contact)
        assert sum(button.pressed() for _ in range(20)) == told
    contact = Contact()
    Button(contact, contact.ticks)
    contact.now += 400
    contact.handler(contact)  # while the program starts, before anybody has asked, a pin may settle
    assert not Button(contact, contact.ticks).pressed()


def test_a_press_counts_however_long_ago_the_last_one_was():
    """Ticks of a board come round after 12.4 days: of two that lie more than half of that apart, they say which is which no more."""
    for days in (1, 6, 7, 9, 12, 13, 18, 19, 24, 25, 31):
        ticks = button_module.time = Ticks()
        contact = Contact()
        button = Button(contact, ticks.ticks_ms)
        told = []
        for _ in range(3):
            ticks.now_ms += 300
            contact.level = 0
            contact.handler(contact)
            asked = []
            for _ in range(30):
                ticks.now_ms += 10
                asked.append(button.pressed())
            contact.level = 1
            contact.handler(contact)
            told.append(sum(asked))
            for _ in range(days * 24):
                ticks.now_ms += 3600_000
                assert not button.pressed()
        assert told == [1, 1, 1], (days, told)
