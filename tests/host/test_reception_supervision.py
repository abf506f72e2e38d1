"""The work list: what is found, how soon, in which words, and that it goes when it is mended (TP-REC-010 to TP-REC-018)."""

import csv
import io
import json

import pytest
from reception_databases import database_url, postgres  # noqa: F401
from reception_world import DAY, EPOCH, HOUR, MINUTE, SECOND, World
from tryggport.cli import app
from tryggport.reception import cases, installations, supervision, views, vital
from tryggport.reception.findings import HEARTBEAT_MS, Limits
from tryggport.wire import kinds
from typer.testing import CliRunner


class Watched(World):
    """A world with a supervisor, and gateways whose heartbeats keep coming while time passes."""

    def __init__(self, url):
        super().__init__(url)
        self.alive = {}
        self.supervisor = supervision.Supervisor(self.db, self.clock, Limits())

    def beat(self, gateway="kitchen-7", **fields):
        """From now on the gateway's heartbeat says this, every 5 minutes and now."""
        path = fields.get("path", 0)
        self.alive[gateway, path] = self.alive.get((gateway, path), {}) | fields
        self.say(gateway, **self.alive[gateway, path])

    def pass_time(self, ms, step_ms=MINUTE):
        """Time passes; heartbeats come when they are due and the supervisor looks at each step."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.later(min(step_ms, end_ms - self.now_ms))
            for (gateway, path), fields in self.alive.items():
                if self.now_ms % HEARTBEAT_MS < step_ms:
                    self.say(gateway, **({"path": path} | fields))
            self.supervisor.tick()

    def work(self, scope=None):
        self.supervisor.tick()
        return views.work_list(scope or self.centre)

    def kinds(self, scope=None):
        return [row["kind"] for row in self.work(scope)]


@pytest.fixture
def world(database_url):  # noqa: F811
    made = Watched(database_url)
    made.asker = made.town("Asker")
    made.install("Asker", "A-1", "kitchen-7")
    made.beat()
    yield made
    made.close()


def lines(world):
    return [line["what"] for line in views.changes(world.centre, limit=1000)]


def test_TP_REC_010_a_gateway_is_silent_by_its_third_heartbeat_and_the_line_goes_when_it_is_back(world):
    world.pass_time(HOUR)
    assert world.work() == []
    went_ms = world.now_ms
    del world.alive["kitchen-7", 0]
    while not world.work():
        world.later(10 * SECOND)
    assert 2 * HEARTBEAT_MS < world.now_ms - went_ms <= 3 * HEARTBEAT_MS
    (line,) = world.work(world.asker)
    assert (line["kind"], line["home"], line["gateway"], line["municipality"]) == (
        "silent",
        "A-1",
        "kitchen-7",
        "Asker",
    )
    assert line["sentence"] == (
        "The gateway kitchen-7 in home A-1 is silent. Call the home, and look at its power and network."
    )
    world.later(4 * HOUR)
    world.beat()
    assert world.work() == []
    assert lines(world)[-1].startswith("mended after 4 h")
    assert world.now_ms - went_ms > 4 * HOUR


def test_TP_REC_010_a_will_or_a_retained_status_does_not_hide_or_make_silence(world):
    world.say(online=False)
    assert world.work() == []  # it may be back at once
    del world.alive["kitchen-7", 0]
    world.pass_time(3 * HEARTBEAT_MS)
    world.say(retained=True, connect=9)
    assert world.kinds() == ["silent"]


def test_TP_REC_010_a_path_at_rest_is_silent_when_its_daily_test_has_not_come(world):
    del world.alive["kitchen-7", 0]  # the primary is dead, and the gateway lives on the second path
    world.beat(path=1, connect=2)
    went_ms = world.now_ms
    world.pass_time(25 * HOUR, 5 * MINUTE)
    assert world.work() == []
    while not world.work():
        world.pass_time(5 * MINUTE, 5 * MINUTE)
    assert 25 * HOUR < world.now_ms - went_ms <= 26 * HOUR + 10 * MINUTE
    assert [(line["kind"], line["sentence"]) for line in world.work()] == [
        (
            "silent path",
            "The gateway kitchen-7 in home A-1 is silent on path 0. It has another one; find out what is wrong.",
        )
    ]
    world.say(path=0, connect=3)
    assert world.work() == []


def test_never_heard(world):
    world.install("Asker", "A-2", "hall-0002")
    world.pass_time(DAY, 2 * HOUR)
    assert [(row["kind"], row["home"]) for row in world.work()] == [("never heard", "A-2")]
    world.beat("hall-0002")
    assert world.work() == []


def test_TP_REC_011_events_withheld_are_named_when_they_are_missing_for_a_minute(world):
    world.alarm(0, test=True)
    world.alarm(1, test=True)
    world.beat(next_seq=4)  # 2 and 3 are on their way
    assert world.work() == []
    world.later(59 * SECOND)
    assert world.work() == []
    world.alarm(2, test=True)
    assert world.work() == []  # another one is missing now
    world.later(59 * SECOND)
    assert world.work() == []
    world.later(2 * SECOND)
    (line,) = world.work()
    assert line["kind"] == "withheld"
    assert line["sentence"].startswith(
        "Event 3 of the gateway kitchen-7 in home A-1 has not arrived: events are withheld."
    )
    world.alarm(9, test=True)
    world.beat(next_seq=12)
    (line,) = world.work()
    assert line["sentence"].startswith("8 events from 3 to 11 of the gateway kitchen-7 in home A-1 have not arrived")
    for seq in (3, 4, 5, 6, 7, 8, 10, 11):
        world.alarm(seq, test=True)
    assert world.work() == []


def test_TP_REC_011_what_the_gateway_says_it_dropped_is_not_withheld(world):
    world.alarm(0, test=True)
    world.arrive(world.event(5, kinds.DROP, data={kinds.DATA_FIRST: 1, kinds.DATA_LAST: 4}), alarm=False)
    world.beat(next_seq=6)
    world.pass_time(2 * MINUTE)
    assert world.work() == []


def test_TP_REC_011_an_epoch_of_which_nothing_came_and_a_lie_about_next_seq_are_seen(world):
    world.beat(next_seq=40, events=2, alarms=1)
    world.pass_time(2 * MINUTE)
    assert world.work()[0]["sentence"].startswith("3 events from 37 to 39 of")
    world.alarm(39, test=True)  # the epoch begins here as far as anybody knows
    assert world.work() == []
    world.beat(next_seq=2**32 - 1)
    world.pass_time(2 * MINUTE)
    assert "from 40 to 4294967294" in world.work()[0]["sentence"]


@pytest.mark.parametrize(
    ("data", "sensor", "kind", "words"),
    [
        (
            {kinds.DATA_FAULT: kinds.SENSOR_FAULT_BATTERY_LOW},
            "door-1",
            "battery",
            "The battery of door-1 at the gateway kitchen-7",
        ),
        ({kinds.DATA_FAULT: kinds.SENSOR_FAULT_SILENT}, "belt", "sensor", "The sensor belt of the gateway kitchen-7"),
        ({kinds.DATA_FAULT: kinds.FAULT_ACCELEROMETER}, None, "sensor", "The fall sensor of the gateway kitchen-7"),
        (  # a name that would write over other lines on a terminal, in a letter that has no small one
            {kinds.DATA_FAULT: kinds.SENSOR_FAULT_SILENT},
            "𝐀\x1b[1A\u202e",
            "sensor",
            "The sensor 𝐀?[1A? of the gateway kitchen-7",
        ),
    ],
)
def test_TP_REC_012_a_low_battery_and_a_missing_sensor_stand_until_cleared_or_a_new_boot(
    world, data, sensor, kind, words
):
    def fault(seq, state=kinds.STATE_RAISED, ref=None, boot=1):
        world.arrive(
            world.event(seq, kinds.FAULT, state=state, ref=ref, data=data, sensor=sensor, boot=boot), alarm=False
        )

    fault(0)
    fault(1)
    world.pass_time(HOUR, 10 * MINUTE)
    (line,) = world.work(world.asker)
    assert line["kind"] == kind and line["sentence"].startswith(words)
    fault(2, kinds.STATE_CLEARED, ref=1)
    assert world.work() == []
    fault(3)
    assert world.kinds() == [kind]
    world.arrive(world.event(4, kinds.BOOT, boot=2), alarm=False)
    assert world.work() == []
    fault(6, kinds.STATE_CLEARED, ref=5, boot=2)  # the end overtook the beginning
    fault(5, boot=2)
    assert world.work() == []


def test_mains_lost_and_back(world):
    world.arrive(world.event(0, kinds.MAINS), alarm=False)
    assert world.kinds() == ["mains"]
    world.arrive(world.event(1, kinds.MAINS, state=kinds.STATE_CLEARED, ref=0), alarm=False)
    assert world.work() == []


def test_TP_REC_013_a_clock_that_is_off_is_judged_by_two_heartbeats(world):
    world.say(utc_ms=world.now_ms - HOUR, quality=kinds.QUALITY_SYNCED)  # this one waited at the broker
    assert world.work() == []
    world.say(utc_ms=world.now_ms, quality=kinds.QUALITY_SYNCED)
    world.pass_time(20 * MINUTE)
    assert world.work() == []
    for _ in range(3):
        world.later(HEARTBEAT_MS)
        world.say(utc_ms=world.now_ms + 7 * MINUTE, quality=kinds.QUALITY_HOLDOVER)
        world.supervisor.tick()
    assert world.work()[0]["sentence"].startswith("The clock of the gateway kitchen-7 in home A-1 is 7 minutes ahead.")
    world.say(utc_ms=world.now_ms, quality=kinds.QUALITY_SYNCED)
    assert world.work() == []


def test_TP_REC_014_old_firmware_by_the_municipality_s_own_wish(world):
    bodo = world.town("Bodø", oldest_firmware="0.10.0")
    world.install("Bodø", "B-1", "bodo-0001")
    for firmware, kinds_found in (("0.9.3", ["firmware"]), ("0.10.0", []), ("v1.2", []), ("sim", ["firmware"])):
        world.beat("bodo-0001", firmware=firmware)
        assert world.kinds(bodo) == kinds_found, firmware
    assert world.kinds(world.asker) == []


def test_TP_REC_014_untested_for_so_many_days(world):
    bodo = world.town("Bodø", untested_days=7)
    world.install("Bodø", "B-1", "bodo-0001")
    world.beat("bodo-0001")
    world.later(7 * DAY - 1)
    world.beat(), world.beat("bodo-0001")
    assert world.work() == []
    world.later(1)
    assert [(r["kind"], r["home"]) for r in world.work(bodo)] == [("untested", "B-1")]
    world.alarm(0, kinds.HELP, "bodo-0001", test=True)
    world.later(28 * DAY)
    world.beat(), world.beat("bodo-0001")
    assert sorted((r["kind"], r["home"]) for r in world.work()) == [("untested", "A-1"), ("untested", "B-1")]
    assert "no test alarm for 35 days" in world.work(world.asker)[0]["sentence"]


def region(world, count, area=None, first=0):
    for number in range(first, first + count):
        world.install("Asker", f"N-{number}", f"north-{number:04}", area=area)
        world.beat(f"north-{number:04}")


def test_TP_REC_015_a_regional_outage_is_one_case_and_one_line(world):
    region(world, 12, "north")
    region(world, 10, "south", 12)
    world.pass_time(10 * MINUTE)
    for number in range(10):
        del world.alive[f"north-{number:04}", 0]
    world.pass_time(3 * HEARTBEAT_MS)
    (line,) = world.work(world.asker)
    assert line["sentence"].startswith("10 gateways in north, Asker are silent since an outage.")
    (case,) = world.cases(world.asker)
    assert case["about"] == "outage: 10 gateways in north, Asker fell silent together"
    world.pass_time(HOUR, HEARTBEAT_MS)
    assert len(world.cases()) == len(world.work()) == 1
    cases.take(world.asker, case["id"], "Kari")
    cases.close(world.asker, case["id"], "Kari", "technical")
    world.pass_time(10 * MINUTE)
    assert world.cases(closed=False) == []  # known and dealt with: no second case for the same outage
    for number in range(9):
        world.beat(f"north-{number:04}")
    assert [(r["kind"], r["gateway"]) for r in world.work()] == [("silent", "north-0009")]
    assert any(what.startswith("mended after 1 h") and "10 gateways" in what for what in lines(world))


def test_TP_REC_015_neither_a_few_nor_many_one_by_one_are_an_outage(world):
    region(world, 12)
    for number in range(4):
        del world.alive[f"north-{number:04}", 0]
    world.pass_time(3 * HEARTBEAT_MS)
    for number in range(4, 8):
        del world.alive[f"north-{number:04}", 0]
        world.pass_time(20 * MINUTE)
    assert world.kinds() == ["silent"] * 8
    assert world.cases() == []


def test_TP_REC_016_two_live_sessions_of_one_id_are_a_clone(world):
    world.pass_time(HOUR)
    for connect in (2, 3):  # an honest gateway reconnects
        world.beat(connect=connect)
        world.pass_time(10 * MINUTE)
    world.beat(boot=2, connect=1, uptime_ms=0)
    assert world.work() == []
    for turn in range(4):  # the original and its copy throw each other out
        world.later(10 * SECOND)
        world.say(boot=2, connect=2 + turn, uptime_ms=60_000 * (turn + 1))
        world.later(10 * SECOND)
        world.say(boot=2, connect=2 + turn, uptime_ms=30_000 * (turn + 1))
    (line,) = world.work(world.asker)
    assert line["kind"] == "clone"
    assert line["sentence"].startswith("Two boxes speak as the gateway kitchen-7 in home A-1.")


def test_TP_REC_016_a_copy_with_an_older_session_or_epoch_is_seen_and_redelivery_is_not(world):
    world.beat(connect=7)
    world.later(10 * SECOND)
    world.say(connect=7)
    world.say(connect=6, uptime_ms=1)  # a broker may deliver again after a crash, once
    assert world.work() == []
    other = bytes(8)
    for _ in range(3):
        world.later(10 * SECOND)
        world.say(epoch=other)
        world.later(10 * SECOND)
        world.say(epoch=EPOCH, connect=7)
    assert world.kinds() == ["clone"]
    world.alive.clear()
    world.later(2 * DAY)
    world.beat(connect=8)
    assert world.kinds() == []


def test_TP_REC_016_two_paths_at_once_are_no_clone(world):
    for _ in range(6):
        world.later(10 * SECOND)
        world.say(path=0, connect=1)
        world.say(path=1, connect=2)
    assert world.kinds() == []


def test_TP_REC_005_a_gateway_in_no_home_and_a_revoked_one_in_use_are_the_centre_s_to_mend(world):
    world.beat("hall-0002")
    world.alarm(0, gateway="loft-0003")
    assert [(r["kind"], r["gateway"]) for r in world.work()] == [
        ("unassigned", "hall-0002"),
        ("unassigned", "loft-0003"),
    ]
    assert world.work(world.asker) == []
    world.install("Asker", "A-2", "hall-0002")
    world.install("Asker", "A-3", "loft-0003")
    assert world.work() == []
    installations.revoke(world.asker, "hall-0002", "Ida", "stolen", world.now_ms)
    assert world.kinds() == ["revoked"]


def test_TP_REC_009_a_canary_that_does_not_come_back_is_on_the_centre_s_list(world):
    with world.db.write() as tx:
        vital.note(tx, vital.CANARY, world.now_ms)
    world.pass_time(3 * MINUTE - SECOND)
    assert world.work() == []
    world.later(SECOND)
    assert world.kinds() == ["canary"]
    assert world.work(world.asker) == []
    with world.db.write() as tx:
        vital.note(tx, vital.CANARY, world.now_ms)
    assert world.work() == []
    assert views.vital_signs(world.centre)["supervision"] == world.now_ms


def test_TP_REC_017_the_work_list_is_the_municipality_s_as_text_json_and_csv(world):
    world.town("Bodø")
    world.install("Bodø", "B-1", "bodo-0001")
    world.beat("bodo-0001")
    world.alive.clear()
    world.pass_time(HOUR, HEARTBEAT_MS)

    def tryggport(*options):
        done = CliRunner().invoke(app, ["reception", "worklist", "--db", world.url, *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    of_bodo = ("--municipality", "Bodø")
    assert tryggport().count("\n") == 2
    assert "home B-1 is silent. Call the home" in tryggport(*of_bodo) and "A-1" not in tryggport(*of_bodo)
    (row,) = json.loads(tryggport("--json", *of_bodo))
    assert (row["home"], row["kind"]) == ("B-1", "silent")
    (row,) = csv.DictReader(io.StringIO(tryggport("--csv", *of_bodo)))
    assert list(row) == ["since", "municipality", "home", "gateway", "kind", "sentence"]
    assert (row["municipality"], row["gateway"]) == ("Bodø", "bodo-0001")
    norwegian = "Porten bodo-0001 i bolig B-1 er taus. Ring boligen, og se på strømmen og nettet der."
    assert norwegian in tryggport("--lang", "nb", *of_bodo)
    (row,) = csv.DictReader(io.StringIO(tryggport("--csv", "--lang", "nb", *of_bodo)))
    assert row["sentence"] == norwegian
    assert tryggport("--json", "--lang", "nb") == tryggport("--json")  # programs read one language


def test_a_restart_of_supervision_forgets_nothing(world):
    world.alive.clear()
    world.pass_time(HOUR, HEARTBEAT_MS)
    before = world.work()
    world.close()
    world.open()
    world.supervisor = supervision.Supervisor(world.db, world.clock)
    world.later(MINUTE)
    assert world.work() == before
    assert len([what for what in lines(world) if what.startswith("to do")]) == 1


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0, "0 s"), (59_999, "59 s"), (61_000, "1 min 1 s"), (3_600_000, "1 h"), (DAY + 2 * HOUR + 5000, "1 d 2 h")],
)
def test_durations_in_words(ms, words):
    assert supervision.lasted(ms) == words
