"""The detector's work, in instructions that callgrind counts: repeatable on any machine with the same interpreter."""

from __future__ import annotations

import shutil

import pytest

from tests.bench import falls


def test_TP_FAL_011_work_per_second_of_data() -> None:
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed (make system-packages)")
    told = falls.measure()
    print(told)
    assert told["verdicts"] == 1
    assert max(told[f"{what}_ir_per_s"] for what in ("walking", "fall", "lying")) <= 1_100_000
