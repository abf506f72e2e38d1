"""A fall becomes a signed, receipted alarm: real MicroPython on the virtual board, real mpremote, TLS, Mosquitto and SQLite."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chains import recover, stored, wait_quiet, wait_stored
from tryggport.devices import boards
from tryggport.falls import recordings
from tryggport.reception import cases, open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim import movement
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import Moment, now_ms

BOARD_STEPS_BEFORE = ("edge", "append.begin")
BOARD_STEPS_AFTER = (
    "append.end", "sign.begin", "sign.end", "publish.begin", "publish.end", "puback", "receipt", "settle.begin", "settle.end",
)  # fmt: skip
RECEPTION_STEPS = ("received", "verified", "commit.begin", "commit.end", "receipt.begin", "receipt.end", "puback")


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto") as chain:
        yield chain


def recorded(*, fall: bool, activity: str) -> list[tuple[int, int, int]]:
    """The first SisFall recording of an activity: (x, y, z) in mg at 50 Hz."""
    folder = os.environ.get("TRYGG_DATA")
    if not folder:
        pytest.skip("TRYGG_DATA is not set: protocols/falls.md says where the recordings come from")
    data = recordings.load(Path(folder) / "falls")
    trial = next(t for t in data.trials if (t.set, t.fall, t.activity) == ("sisfall", fall, activity))
    assert trial.rate_hz == movement.RATE_HZ
    return list(struct.iter_unpack("<3h", data.of(trial)))


def play(chain: Chain, samples: list[tuple[int, int, int]]) -> None:
    """Moves the sensor, and waits until the detector has had the time for its verdict."""
    chain.board.feed(list(movement.standing(3)) + samples, movement.RATE_HZ)
    time.sleep(3 + len(samples) / movement.RATE_HZ + 1)


def test_TP_WIR_001_TP_WIR_002_a_recorded_everyday_activity_is_no_alarm_and_a_recorded_fall_is_one(
    chain: Chain,
) -> None:
    play(chain, recorded(fall=False, activity="D11"))
    assert stored(chain, "fall") == []
    since = now_ms()
    play(chain, recorded(fall=True, activity="F01"))
    (alarm,) = wait_stored(chain, "fall", 1)
    assert alarm["gateway"] == chain.gateway and alarm["alarm"] and not alarm["test"]
    settled = chain.timeline.wait("gateway", "settle.end", since=since, seq=alarm["seq"])
    assert settled is not None
    verified = [m for m in chain.timeline.since(since) if (m.source, m.name) == ("reception", "verified")]
    assert [m.detail["topic"] for m in verified if m.detail["topic"].endswith("alarm")] == [
        f"trygg/1/{chain.gateway}/alarm"
    ]
    edge = chain.timeline.wait("gateway", "edge", since=since)
    assert edge is not None and settled.t_ms - edge.t_ms < 2000  # TP-BND-001, measured to the receipt


def test_TP_WIR_019_TP_WIR_016_the_home_is_told_when_a_named_person_takes_the_case(chain: Chain) -> None:
    chain.board.press("help")
    wait_stored(chain, "help", 1)
    assert chain.wait_light("sent")
    with contextlib.closing(open_database(chain.database_url)) as database:
        case = views.list_cases(centre(database), closed=False)[0]["id"]
        assert chain.light() == "sent", "nothing but a person may make more of it"
        cases.take(centre(database), case, "Kari")
        assert chain.wait_light("taken")
        tones = [value for _, pin, value in chain.board.outputs().history if pin == "buzzer"]
        assert tones.count((1319, 32768)) == 3, "help is informed: three high beeps"
        cases.close(centre(database), case, "Kari", "needed help", "helped up")
    assert chain.wait_light("closed")


def test_TP_WIR_020_cancel_is_an_event_of_its_own_and_the_alarm_stays(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.board.press("help")
    assert chain.wait_light("sent")
    chain.board.press("cancel")
    (cleared,) = wait_stored(chain, "help", 1, "cleared")
    raised = stored(chain, "help")
    assert len(raised) == before + 1
    assert (cleared["ref"], cleared["alarm"]) == (raised[0]["seq"], True)
    assert chain.wait_light("closed")


def test_the_network_goes_and_the_alarm_waits(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.board.network(False)
    chain.board.press("help")
    assert chain.wait_light("sending")
    time.sleep(1)
    assert len(stored(chain, "help")) == before
    chain.board.network(True)
    assert len(wait_stored(chain, "help", before + 1, timeout_s=40)) == before + 1
    assert chain.wait_light("sent", timeout_s=40)


def test_the_reception_restarts_and_the_alarm_waits(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.stop_reception()
    chain.board.press("help")
    assert chain.timeline.wait("gateway", "puback", since=now_ms()) is not None, "the broker has it"
    assert chain.wait_light("sending"), "a broker's word is not the centre's"
    chain.start_reception()
    assert len(wait_stored(chain, "help", before + 1)) == before + 1
    assert chain.wait_light("sent")


class Cut:
    """Cuts the gateway's power when the reception reaches a step with the alarm in hand."""

    def __init__(self, chain: Chain, step: str) -> None:
        self.reached: Moment | None = None
        self._chain = chain
        self._step = step
        self._armed = self._journalled = False
        chain.timeline.listen(self._look)

    def arm(self) -> None:
        self._armed = True

    def _look(self, moment: Moment) -> None:
        if self._armed and (moment.source, moment.name) == ("gateway", "append.end"):
            self._journalled = True  # what the reception does before that is about something else
        if self._journalled and self.reached is None and (moment.source, moment.name) == ("reception", self._step):
            self._chain.board.power_cut()
            self.reached = moment

    def wait(self) -> None:
        deadline = time.monotonic() + 20
        while self.reached is None and time.monotonic() < deadline:
            time.sleep(0.01)


def test_a_press_while_the_power_is_gone_is_none(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.board.power_cut()
    chain.board.press("help")
    time.sleep(0.3)
    recover(chain)
    assert len(stored(chain, "help")) == before


def test_a_button_held_while_the_gateway_starts_is_one(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.board.power_cut()
    chain.board.hold("help")
    recover(chain)
    chain.board.release("help")
    time.sleep(0.2)  # longer than the contact may bounce
    assert len(wait_stored(chain, "help", before + 1)) == before + 1


@pytest.mark.parametrize("step", [*BOARD_STEPS_BEFORE, *BOARD_STEPS_AFTER])
def test_TP_WIR_007_TP_WIR_013_power_cut_at_a_step_of_the_gateway(chain: Chain, step: str) -> None:
    wait_quiet(chain)
    before = len(stored(chain, "help"))
    chain.board.plan_cut(f"step:{step}")
    chain.board.press("help")
    chain.board.wait_for(lambda board: board.cut_happened, timeout_s=20)
    happened = chain.board.cut_happened
    assert happened is not None and happened["step"] == step, "the step was reached"
    recover(chain)
    count = len(stored(chain, "help")) - before
    assert count in (0, 1) if step in BOARD_STEPS_BEFORE else count == 1


@pytest.mark.parametrize("step", RECEPTION_STEPS)
def test_TP_WIR_011_TP_WIR_014_power_cut_at_a_step_of_the_reception(chain: Chain, step: str) -> None:
    before = len(stored(chain, "help"))
    cut = Cut(chain, step)
    cut.arm()
    chain.board.press("help")
    cut.wait()
    assert cut.reached is not None, "the step was reached"
    assert not chain.board.powered
    recover(chain)
    assert len(wait_stored(chain, "help", before + 1)) - before == 1


def test_TP_WIR_006_no_seq_was_used_twice_and_none_is_missing(chain: Chain) -> None:
    rows = list(itertools.chain(*(stored(chain, kind, state) for kind, state in (
        ("boot", "raised"), ("clock", "raised"), ("help", "raised"), ("help", "cleared"), ("fall", "raised"), ("fall", "updated"),
        ("fault", "raised"),
    ))))  # fmt: skip
    assert {row["epoch"] for row in rows} == {rows[0]["epoch"]}, "no cut may cost the epoch"
    seqs = sorted(row["seq"] for row in rows)
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_TP_WIR_024_a_new_epoch_names_the_old_one(chain: Chain) -> None:
    """The journal's flash is wiped behind the gateway's back: no seq of the old epoch may be used again."""
    (old,) = {row["epoch"] for row in stored(chain, "boot")}
    chain.board.power_cut()
    journal = boards.load("virtual").partition("journal")
    with (chain.board.folder / "flash.bin").open("r+b") as flash:
        flash.seek(journal.offset)
        flash.write(b"\xff" * journal.size)
    recover(chain)
    newest = stored(chain, "boot")[0]
    assert newest["epoch"] != old
    assert newest["data"]["previous_epoch"] == old
