"""When the one connection moves to another path, and how each path proves itself (protocols/wire.md, bounds.md)."""

from gateway import bounds, moves
from gateway.paths import begin

PRIMARY = ("a.example", 8883)
SECOND = ("b.example", 8883)
SECOND_MS = 1000


def at(path=0, now_ms=0, count=2):
    """Paths of a gateway that has just connected to `path`, where it was before."""
    paths = begin([PRIMARY, SECOND, ("c.example", 1)][:count])
    paths.path = paths.last = path
    paths.address[0] = paths.brokers[path]
    assert moves.arrived(paths, now_ms) is None
    return paths


def move(paths, now_ms, alarm_ms=None, works=True):
    """Leaves for the next path, which works or not; returns what the arrival says."""
    assert moves.leave(paths, now_ms, alarm_ms)
    assert moves.lost(paths, now_ms, alarm_ms is not None)
    if not works:
        assert moves.lost(paths, now_ms, alarm_ms is not None)
    return moves.arrived(paths, now_ms)


def test_TP_BND_031_an_alarm_without_an_answer_for_thirty_seconds_takes_the_second_path_as_well():
    paths = at(0)
    assert not moves.leave(paths, 30_999, 1000)
    assert moves.leave(paths, 31_000, 1000)
    assert moves.lost(paths, 31_000, True) and paths.path == 1 and paths.address == [SECOND]


def test_TP_BND_031_it_alternates_and_grows_patient_until_there_is_a_fresh_alarm():
    paths = at(0)
    now_ms = 0
    stays = []
    for _ in range(10):
        since_ms = now_ms
        while not moves.leave(paths, now_ms, since_ms):
            now_ms += SECOND_MS
        stays.append((paths.path, (now_ms - since_ms) // 1000))
        moves.lost(paths, now_ms, True)
        moves.arrived(paths, now_ms)
    assert [path for path, _ in stays] == [0, 1] * 5
    assert [stay for _, stay in stays] == [30, 30, 30, 40, 80, 160, 320, 640, 900, 900]


def test_TP_BND_032_nobody_there_moves_at_once_and_at_most_every_five_seconds():
    paths = at(0)
    paths.refused = True
    assert moves.leave(paths, 1, 0)
    moves.lost(paths, 1, True)
    moves.arrived(paths, 100)
    assert not paths.refused
    paths.refused = True
    assert not moves.leave(paths, 5000, 100), "less than five seconds after the last switch"
    assert moves.leave(paths, 10_001, 100)


def test_TP_WIR_033_a_path_that_does_not_connect_is_followed_by_the_next():
    paths = begin([PRIMARY, SECOND])
    tried = []
    for _ in range(5):
        tried.append(paths.address[0])
        moves.lost(paths, 0, False)
    assert tried == [PRIMARY, SECOND, PRIMARY, SECOND, PRIMARY]


def test_TP_WIR_033_a_good_broker_that_goes_is_tried_again_first_unless_an_alarm_waits():
    for alarm, lasted_ms, path in ((False, 60_000, 0), (True, 60_000, 1), (False, 10_000, 1)):
        paths = at(0)
        assert moves.lost(paths, lasted_ms, alarm) == bool(path)
        assert paths.path == path


def test_TP_BND_033_the_second_path_is_tested_daily_and_after_a_failure():
    paths = at(0)
    assert not moves.leave(paths, bounds.PATH_SOON_MS - 1, None)
    assert move(paths, bounds.PATH_SOON_MS) is None
    assert paths.path == paths.testing == 1
    moves.proven(paths, 700_000)
    assert move(paths, 700_000) is None, "back at once"
    assert paths.path == paths.testing == 0
    moves.proven(paths, 701_000)
    assert not moves.leave(paths, 701_000 + bounds.PATH_DAY_MS - 1, None)
    assert moves.leave(paths, 701_000 + bounds.PATH_DAY_MS, None)
    paths = at(0)
    moves.lost(paths, 100_000, False)
    moves.arrived(paths, 101_000)
    assert moves.leave(paths, 101_000 + bounds.PATH_SOON_MS, None), "and after a failure"


def test_TP_BND_034_a_test_without_its_receipt_fails_once():
    paths = at(0)
    move(paths, bounds.PATH_SOON_MS)
    since_ms = bounds.PATH_SOON_MS
    assert moves.unproven(paths, since_ms + bounds.PATH_PROOF_MS - 1) is None
    assert moves.unproven(paths, since_ms + bounds.PATH_PROOF_MS) == 1
    assert moves.unproven(paths, since_ms + bounds.PATH_PROOF_MS) is None
    assert 1 in paths.failed
    assert moves.leave(paths, since_ms + bounds.PATH_PROOF_MS, None), "home at once: the primary is not known to fail"


def test_TP_BND_036_a_path_that_cannot_be_reached_fails_its_test_and_is_tried_again_in_an_hour():
    paths = at(0)
    assert move(paths, bounds.PATH_SOON_MS, works=False) == 1
    assert paths.path == 0 and paths.testing is None
    now_ms = bounds.PATH_SOON_MS + bounds.PATH_RETRY_MS
    assert not moves.leave(paths, now_ms - 1, None)
    assert move(paths, now_ms) is None
    moves.proven(paths, now_ms)
    assert paths.failed == {}, "the fault is over"


def test_TP_BND_035_from_the_second_path_it_comes_back_as_soon_as_the_primary_works():
    paths = begin([PRIMARY, SECOND])
    moves.lost(paths, 0, False)
    assert moves.arrived(paths, 0) is None
    assert paths.testing == 1, "where it lands it proves the path"
    moves.proven(paths, 1000)
    now_ms = 1000
    waits = []
    for _ in range(7):
        since_ms = now_ms
        while not moves.leave(paths, now_ms, None):
            now_ms += SECOND_MS
        waits.append((now_ms - since_ms) // 1000)
        moves.lost(paths, now_ms, False)
        moves.lost(paths, now_ms, False)
        assert moves.arrived(paths, now_ms) in (0, None)
        assert paths.path == 1 and paths.testing is None and 0 in paths.failed
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    assert move(paths, now_ms + 900_000) is None
    assert paths.path == paths.testing == 0
    moves.proven(paths, now_ms + 900_000)
    assert paths.failed == {}


def test_no_move_for_a_test_while_an_alarm_waits_and_none_at_all_with_one_path():
    paths = at(0)
    assert not moves.leave(paths, bounds.PATH_SOON_MS, bounds.PATH_SOON_MS - 1)
    alone = at(0, count=1)
    assert not moves.leave(alone, bounds.PATH_DAY_MS, 0)
    assert not moves.lost(alone, 1, True)
    assert alone.address == [PRIMARY]


def test_a_primary_that_connects_and_never_answers_is_not_gone_back_to_at_once():
    paths = at(1, now_ms=0)
    paths.failed[0] = 7
    paths.testing, paths.on_purpose = 1, True
    moves.proven(paths, 0)
    assert not moves.leave(paths, 29_999, None)
    assert moves.leave(paths, 30_000, None)
