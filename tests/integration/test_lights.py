"""Light and sound in the home, read from the pins, follow the outcomes exactly (TP-WIR-019, TP-WIR-037, TP-BND-007)."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator

import pytest
from chains import stored, wait_stored
from path_site import TwoPaths
from tryggport.reception import cases, open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.timeline import now_ms
from tryggport.wire import kinds
from tryggport.wire.receipt import receipts

UNANSWERED_MS = 6000  # 60 s divided by ten
AGAIN_MS = 6000
SLACK_MS = 1600  # the gateway looks each second


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoPaths]:
    with TwoPaths(tmp_path_factory.mktemp("lights")).running() as site:
        quiet = {"PATH_SOON_MS": 10**7, "HANDSHAKE_MS": 4000, "PUBACK_MS": 3000, "SECOND_PATH_MS": 30_000}
        site.install_bounds(10, UNANSWERED_AGAIN_MS=AGAIN_MS, **quiet)
        yield site


def tell(site: TwoPaths, seq: int, outcome: int) -> None:
    """The reception says of an alarm what a later version or a hand-over would."""
    with contextlib.closing(sqlite3.connect(site.folder / "reception.db")) as database:
        epoch, sha256 = database.execute("SELECT epoch, sha256 FROM events WHERE seq = ?", [seq]).fetchone()
    reception = site.chain._reception
    assert reception is not None
    for receipt in receipts(site.chain.gateway, epoch, outcome, {seq: sha256}, time.time_ns() // 1_000_000):
        reception._send(receipt, [0, 1])


def beeps(site: TwoPaths, hz: int) -> int:
    tones = [value for _, pin, value in site.chain.board.outputs().history if pin == "buzzer"]
    return sum(1 for tone in tones if isinstance(tone, tuple) and tone[0] == hz and tone[1])


def case_of(site: TwoPaths) -> int:
    with contextlib.closing(open_database(site.chain.database_url)) as database:
        return int(views.list_cases(centre(database), closed=False)[0]["id"])


def take(site: TwoPaths) -> None:
    with contextlib.closing(open_database(site.chain.database_url)) as database:
        cases.take(centre(database), case_of(site), "Kari")


def close(site: TwoPaths) -> None:
    with contextlib.closing(open_database(site.chain.database_url)) as database:
        cases.close(centre(database), case_of(site), "Kari", "fall")


def test_TP_BND_007_nobody_has_answered_is_seen_and_heard_and_heard_again_until_somebody_takes_it(
    site: TwoPaths,
) -> None:
    since, seq = site.press()
    assert site.chain.wait_light("sent") and beeps(site, 880) == 1, "one beep as it is seen"
    assert site.chain.wait_light("nobody_answered")
    (shown,) = [m for m in site.chain.timeline.since(since) if (m.source, m.name) == ("home", "nobody_answered")]
    assert UNANSWERED_MS - 100 <= shown.t_ms - since <= UNANSWERED_MS + SLACK_MS
    time.sleep(1)
    assert beeps(site, 440) == 3
    tell(site, seq, kinds.OUTCOME_HANDED_OVER)
    time.sleep(4)
    assert site.chain.light() == "nobody_answered", "a machine is not help"
    assert beeps(site, 440) == 6, "heard again"
    take(site)
    assert site.chain.wait_light("taken") and beeps(site, 1319) == 3
    for late in (kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE, kinds.OUTCOME_HANDED_OVER):
        tell(site, seq, late)
    time.sleep(2)
    assert site.chain.light() == "taken", "an outcome never goes back"
    assert beeps(site, 440) == 6 and beeps(site, 1319) == 3
    close(site)
    assert site.chain.wait_light("closed")


def test_TP_WIR_019_TP_WIR_037_each_outcome_of_the_newest_alarm_has_its_light_and_sound(site: TwoPaths) -> None:
    site.restart()
    site.chain.stop_reception()
    before = {hz: beeps(site, hz) for hz in (880, 988, 1319)}
    since, seq = site.press()
    steps = (
        ("sending", lambda: None, 880, 1),
        ("sent", site.chain.start_reception, 988, 1),
        ("handed_over", lambda: tell(site, seq, kinds.OUTCOME_HANDED_OVER), 988, 3),
        ("taken", lambda: take(site), 1319, 3),
        ("closed", lambda: close(site), 1319, 3),
    )
    for name, act, hz, count in steps:
        act()
        assert site.chain.wait_light(name), (name, site.chain.light())
        if name != "closed":
            assert now_ms() - since < UNANSWERED_MS + 4000
        deadline = time.monotonic() + 2
        while beeps(site, hz) - before[hz] < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert beeps(site, hz) - before[hz] == count, name
    assert site.chain.wait_light("idle", 30), "and the home is quiet again"


def test_TP_WIR_053_after_a_power_cut_the_home_shows_what_became_of_the_alarm_and_no_more(site: TwoPaths) -> None:
    _, seq = site.press()
    assert site.chain.wait_light("sent")
    site.restart()
    assert site.chain.wait_light("sent"), "stored is not taken"
    assert site.chain.wait_light("nobody_answered", 15), "and nobody has answered since"
    take(site)
    assert site.chain.wait_light("taken")
    site.chain.stop_broker()
    site.stop_second()
    site.chain.board.power_cut()
    site.chain.board.power_on()
    assert site.chain.wait_light("taken", 20), "the home knows it without the network"
    site.chain.start_broker()
    site.start_second()
    site.wait_reception()
    close(site)
    assert site.chain.wait_light("idle", 60)
    since, heard = now_ms(), beeps(site, 1319)
    site.restart()
    for late in (kinds.OUTCOME_DUPLICATE, kinds.OUTCOME_TAKEN):
        tell(site, seq, late)
    time.sleep(8)
    shown = {moment.name for moment in site.chain.timeline.since(since) if moment.source == "home"}
    assert shown <= {"no_contact", "idle"} and beeps(site, 1319) == heard, "what is closed stays closed"


@pytest.mark.parametrize(
    ("outcome", "fault"),
    [(kinds.OUTCOME_CONFLICT, kinds.FAULT_CONFLICT), (kinds.OUTCOME_QUARANTINED, kinds.FAULT_QUARANTINED)],
)
def test_TP_WIR_015_the_home_shows_a_fault_where_the_reception_does_not_believe_the_gateway(
    site: TwoPaths, outcome: int, fault: int
) -> None:
    site.restart()
    before = len(stored(site.chain, "fault"))
    boot = wait_stored(site.chain, "boot", 1)[0]["seq"]
    tell(site, boot, outcome)
    assert site.chain.wait_light("fault"), site.chain.board.console()[-2000:]
    found = wait_stored(site.chain, "fault", before + 1)
    assert len(found) == before + 1 and found[0]["data"] == {"fault": fault}
    tell(site, boot, outcome)
    time.sleep(2)
    assert len(stored(site.chain, "fault")) == before + 1, "once a boot"
    site.restart()
    assert site.chain.wait_light("idle", 20)


def test_without_a_broker_the_home_says_that_there_is_no_contact(site: TwoPaths) -> None:
    site.chain.stop_broker()
    site.stop_second()
    assert site.chain.wait_light("no_contact", 30)
    site.chain.start_broker()
    site.start_second()
    assert site.chain.wait_light("idle", 40)
