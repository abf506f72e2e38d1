"""The benchmark itself: its fields, on a load of seconds. Its figures are in tests/bench/results.md."""

from tests.bench import reception

FIELDS = {"events_per_s", "p50_ms", "p99_ms", "verify_limit_per_s", "ratio"}


def test_the_reception_is_measured_on_both_databases():
    found = reception.measure(count=400, at_rate=200)
    for run in (found, found["postgresql"]):
        assert set(run) >= FIELDS
        assert run["p50_ms"] <= run["p99_ms"]
        assert abs(run["ratio"] - run["events_per_s"] / run["verify_limit_per_s"]) < 0.01
