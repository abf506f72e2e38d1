"""When an event happened: what the reception makes of clock events, of boots that never knew the time, and of clocks that lie."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from reception_databases import each_database_url, postgres  # noqa: F401
from sqlalchemy import select
from tryggport.reception import dating, open_database, schema, store, tenants, views
from tryggport.wire import kinds
from tryggport.wire.event import Event

EPOCH = bytes.fromhex("0123456789abcdef")
NOW = 1_795_300_000_000
DAY = 86_400_000
SYNCED, HOLDOVER, NEVER = kinds.QUALITY_SYNCED, kinds.QUALITY_HOLDOVER, kinds.QUALITY_NEVER


class Centre:
    """A reception's database, and a gateway whose events come in as told."""

    def __init__(self, url):
        self.url = url
        self.seq = 0
        self.database = open_database(url)

    def event(self, boot, uptime_ms, utc_ms=None, quality=None, kind=kinds.MAINS, gateway="kitchen-7", epoch=EPOCH):
        self.seq += 1
        quality = (NEVER if utc_ms is None else SYNCED) if quality is None else quality
        made = Event(
            gateway=gateway,
            epoch=epoch,
            seq=self.seq,
            boot=boot,
            uptime_ms=uptime_ms,
            utc_ms=utc_ms,
            quality=quality,
            kind=kind,
        )
        return Event.from_bytes(made.to_bytes())

    def arrive(self, *events, at_ms=NOW):
        store.commit(self.database, [store.Arrival(e.gateway, False, e) for e in events], [], at_ms)
        return events

    def happened(self, event):
        shown = next(
            row for row in views.list_events(tenants.centre(self.database))
            if (row["gateway"], row["seq"], row["epoch"]) == (event.gateway, event.seq, event.epoch.hex())
        )  # fmt: skip
        found = shown["happened"]
        return found["how"], found["earliest_ms"], found["latest_ms"], found["utc_refused"]


@pytest.fixture
def centre(each_database_url):  # noqa: F811
    made = Centre(each_database_url)
    with closing(made.database):
        yield made


def at(utc_ms, how=dating.CLOCK, refused=False):
    return how, utc_ms, utc_ms, refused


def test_TP_WIR_047_a_clock_event_dates_what_its_boot_told_before(centre):
    boot, press = centre.arrive(centre.event(1, 5000, kind=kinds.BOOT), centre.event(1, 60_000))
    assert centre.happened(boot) == (dating.BEFORE, None, NOW - 55_000, False)
    stored = [(row["seq"], row["received_ms"]) for row in views.list_events(tenants.centre(centre.database))]
    (clock,) = centre.arrive(centre.event(1, 90_000, NOW - 3600_000, kind=kinds.CLOCK), at_ms=NOW + 1000)
    assert centre.happened(clock) == at(NOW - 3600_000)
    assert centre.happened(boot) == at(NOW - 3600_000 - 85_000, dating.ABOUT)
    assert centre.happened(press) == at(NOW - 3600_000 - 30_000, dating.ABOUT)
    shown = [(row["seq"], row["received_ms"]) for row in views.list_events(tenants.centre(centre.database))]
    assert shown[1:] == stored
    with centre.database.read() as tx:
        rows = tx.execute(select(schema.events).order_by(schema.events.c.id)).all()
    assert [row.encoded for row in rows] == [e.to_bytes() for e in (boot, press, clock)], "events never change"


def test_TP_WIR_047_a_better_clock_event_dates_its_boot_anew(centre):
    (press,) = centre.arrive(centre.event(1, 60_000))
    said = (
        (70_000, NOW - DAY, HOLDOVER, kinds.CLOCK),  # a time server, 10 hours off
        (80_000, NOW - DAY + 3600_000, SYNCED, kinds.MAINS),
        (90_000, NOW - DAY + 36_000_000, SYNCED, kinds.CLOCK),
    )
    for uptime, utc, quality, kind in said:
        (told,) = centre.arrive(centre.event(1, uptime, utc, quality, kind))
        assert centre.happened(press) == at(utc - uptime + 60_000, dating.ABOUT)
    for uptime, utc, quality, kind in (
        (95_000, NOW - 2 * DAY, HOLDOVER, kinds.CLOCK),
        (65_000, NOW, SYNCED, kinds.CLOCK),
    ):
        centre.arrive(centre.event(1, uptime, utc, quality, kind))
        assert centre.happened(press) == at(NOW - DAY + 36_000_000 - 30_000, dating.ABOUT), (
            "not by a lesser or older one"
        )
    assert centre.happened(told) == at(said[-1][1])


def test_TP_WIR_047_what_nobody_confirmed_gives_way_to_what_a_receipt_said(centre):
    early, lied = centre.arrive(centre.event(1, 1000), centre.event(1, 2000, NOW - 90 * DAY, HOLDOVER))
    assert centre.happened(lied) == at(NOW - 90 * DAY)
    assert centre.happened(early) == at(NOW - 90 * DAY - 1000, dating.ABOUT)
    (taken_back,) = centre.arrive(centre.event(1, 3000, kind=kinds.CLOCK))
    for event in (early, lied):
        assert centre.happened(event)[0] == dating.BEFORE, "the gateway has dropped that time"
    assert centre.happened(lied)[3]
    centre.arrive(centre.event(1, 4000, NOW - 5000, kind=kinds.CLOCK))
    assert centre.happened(taken_back) == at(NOW - 6000, dating.ABOUT)
    assert centre.happened(lied) == at(NOW - 7000, dating.ABOUT, refused=True)


def test_TP_WIR_048_a_boot_that_never_knew_the_time_lies_between_its_neighbours(centre):
    hour = 3600_000
    before = centre.event(1, hour, NOW - 10 * hour)
    first, last = centre.event(2, 5000), centre.event(2, 2 * hour)
    after = centre.event(3, 60_000, NOW - hour, kind=kinds.CLOCK)
    centre.arrive(first, last, after, before)
    # Boot 2 began after the last of boot 1, and its last came before boot 3 began.
    assert centre.happened(first) == (
        dating.BETWEEN,
        NOW - 10 * hour + 5000,
        NOW - hour - 60_000 - 2 * hour + 5000,
        False,
    )
    assert centre.happened(last) == (dating.BETWEEN, NOW - 8 * hour, NOW - hour - 60_000, False)


def test_TP_WIR_048_without_neighbours_an_event_lies_before_what_its_boot_sent_first(centre):
    old, fresh = centre.event(7, 1000), centre.event(7, 50_000)
    centre.arrive(fresh, at_ms=NOW)
    centre.arrive(old, at_ms=NOW + DAY)
    assert centre.happened(old) == (dating.BEFORE, None, NOW - 49_000, False)
    other = centre.event(8, 1000, NOW, epoch=b"\1" * 8), centre.event(6, 1000, NOW - DAY, gateway="garage-2")
    centre.arrive(*other, at_ms=NOW + DAY)
    assert centre.happened(old) == (dating.BEFORE, None, NOW - 49_000, False), "nor by another's, nor another epoch's"


@pytest.mark.parametrize(
    "wrong", [NOW + 301_000, NOW + 400 * DAY, NOW - 367 * DAY, 32_503_680_000_000, 946_684_800_000]
)
def test_TP_WIR_049_TP_BND_075_TP_BND_076_a_clock_that_cannot_be_right_is_flagged_and_dates_nothing(centre, wrong):
    early, lies = centre.arrive(centre.event(1, 1000), centre.event(1, 2000, wrong, kind=kinds.CLOCK))
    assert centre.happened(early) == (dating.BEFORE, None, NOW - 1000, False)
    assert centre.happened(lies) == (dating.BEFORE, None, NOW, True)
    centre.arrive(centre.event(1, 3000, NOW, kind=kinds.CLOCK))
    assert centre.happened(lies) == at(NOW - 1000, dating.ABOUT, refused=True)


@pytest.mark.parametrize("sound", [NOW + 299_000, NOW, NOW - 180 * DAY])
def test_TP_WIR_049_six_months_in_a_cupboard_are_believed(centre, sound):
    (event,) = centre.arrive(centre.event(1, 2000, sound))
    assert centre.happened(event) == at(sound)


def test_TP_WIR_049_a_clock_before_the_boot_before_is_not_believed(centre):
    centre.arrive(centre.event(1, 1000, NOW - DAY))
    early, lies = centre.arrive(centre.event(2, 500), centre.event(2, 1000, NOW - 30 * DAY, kind=kinds.CLOCK))
    assert centre.happened(lies) == (dating.BETWEEN, NOW - DAY + 1000, NOW, True)
    assert centre.happened(early)[:3] == (dating.BETWEEN, NOW - DAY + 500, NOW - 500)


def test_numbers_at_the_ends_of_the_wire_break_nothing(centre):
    highest = 2**64 - 1
    ends = centre.arrive(
        centre.event(0, 0), centre.event(highest, highest, NOW), centre.event(highest, 0), centre.event(1, highest)
    )
    how = [centre.happened(event)[0] for event in ends]
    assert how == [dating.BEFORE, dating.CLOCK, dating.BEFORE, dating.BEFORE]
    assert centre.arrive(*ends) == ends, "copies are harmless"


def test_events_list_says_how_well_the_time_is_known(centre, tmp_path):
    hour = 3600_000
    centre.arrive(
        centre.event(1, 1000, NOW - hour), centre.event(2, 500), centre.event(3, 60_000), centre.event(3, 90_000, NOW - 1000),
        centre.event(4, 1000, NOW + 400 * DAY),
    )  # fmt: skip

    def run(*more):
        command = [Path(sys.executable).with_name("tryggport"), "events", "list", "--db", centre.url, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"TZ": "UTC"})
        return done.stdout

    day, when = "2026-11-21", "2026-11-21 22:"
    lines = [" ".join(line.split()) for line in run().splitlines()]
    assert lines == [
        f"before {when}26:40 kitchen-7 5 mains raised after {when}26:40, its clock said 2027-12-26 22:26:40: not believed",
        f"{when}26:39 kitchen-7 4 mains raised",
        f"about {when}26:09 kitchen-7 3 mains raised",
        f"before {when}25:09 kitchen-7 2 mains raised after {day} 21:26:40",
        f"{day} 21:26:40 kitchen-7 1 mains raised",
    ]
    told = [(row["happened"]["how"], row["quality"]) for row in json.loads(run("--json"))]
    assert told == [
        ("between", "synced"), ("clock", "synced"), ("about", "never"), ("between", "never"), ("clock", "synced")
    ]  # fmt: skip
