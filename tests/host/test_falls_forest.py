"""The trees: monotone as promised, and scored on the host as in the firmware."""

import random
import re

from tryggport import paths
from tryggport.falls import train
from tryggport.falls.evaluate import frozen_trees
from tryggport.falls.evidence import FEATURES
from tryggport.falls.forest import TREE_SIZE, Settings, grow, score
from tryggport.falls.replay import Recording, replay
from tryggport.sim import movement


def rows(count: int, seed: int) -> list[tuple[int, ...]]:
    random_ = random.Random(seed)
    return [tuple(random_.randrange(256) for _ in train.DIRECTIONS) for _ in range(count)]


def assert_monotone(trees: bytes) -> None:
    """More of a feature never moves the score against its direction, whatever the others are."""
    steps = 0
    for row in rows(300, 7):
        for feature, direction in enumerate(train.DIRECTIONS):
            values = [score((*row[:feature], byte, *row[feature + 1 :]), trees) for byte in range(0, 256, 5)]
            assert values == sorted(values, reverse=direction < 0)
            steps += len(set(values)) - 1
    assert steps > 300


def test_trees_learn_and_stay_monotone_against_noise() -> None:
    found = rows(400, 1)
    falls = [row[0] + row[1] - row[6] > 120 for row in found]
    noisy = [fall != (i % 7 == 0) for i, fall in enumerate(falls)]
    trees = grow(found, noisy, [1.0] * len(found), train.DIRECTIONS, Settings(trees=25, rate=0.3, ridge=5, least=10))
    assert len(trees) == 25 * TREE_SIZE
    assert_monotone(trees)
    unseen = rows(400, 2)
    right = sum((score(row, trees) > 0) == (row[0] + row[1] - row[6] > 120) for row in unseen)
    assert right > 340


def test_TP_FAL_007_the_shipped_trees_are_monotone_and_small() -> None:
    trees = frozen_trees()
    assert len(trees) <= 4096
    assert_monotone(trees)


def test_TP_FAL_007_the_evidence_of_a_fall_holds_its_features_and_score() -> None:
    samples = b"".join(v.to_bytes(2, "little", signed=True) for sample in movement.fall() for v in sample)
    [outcome] = replay([Recording(movement.RATE_HZ, samples)], candidates=True)
    assert [verdict.kind for verdict in outcome.verdicts] == ["fallen"]
    *features, told = outcome.verdicts[0].evidence
    assert tuple(features) in [candidate[:-1] for candidate in outcome.candidates]
    assert told == score(train.byte_row(features), frozen_trees()) >= train.THRESHOLD
    assert len(features) == len(FEATURES)


def test_host_and_firmware_name_the_same_features() -> None:
    source = (paths.folder("firmware") / "gateway" / "fall.py").read_text()
    assert tuple(re.findall(r"^#   (\w+)", source, re.M)) == FEATURES
    shifts = source.split('SHIFTS = b"')[1].split('"')[0]
    assert bytes(train.SHIFTS) == bytes.fromhex(shifts.replace("\\x", ""))
    assert f"THRESHOLD = {train.THRESHOLD}\n" in (paths.folder("firmware") / "gateway" / "fall_trees.py").read_text()
