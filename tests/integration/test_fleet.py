"""A region that comes back: real keys, TLS, Mosquitto, reception; what was sent is compared with what the database holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tryggport.sim.home_link import backoff_s

TRYGGPORT = str(Path(sys.executable).parent / "tryggport")


def fleet(*options, timeout_s=120):
    command = [TRYGGPORT, "sim", "fleet", "--json", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


def check(found, gateways, events):
    assert (found["gateways"], found["lost"], found["doubled"], found["bad_receipts"]) == (gateways, 0, 0, 0)
    assert found["events"] == found["stored"] == found["receipted"] == gateways * events + found["fresh_alarms"]
    assert found["fresh_alarms"] > 0
    assert found["fresh_alarm_p99_ms"] <= 2000


def test_TP_REC_254_twenty_homes_return_and_nothing_is_lost_or_doubled():
    done = fleet("--gateways", 20, "--events", 20, "--outage", 3, "--rate", 10)
    assert done.returncode == 0, done.stderr
    check(json.loads(done.stdout), 20, 20)


@pytest.mark.long
def test_TP_REC_254_ten_thousand_homes_return_and_a_fresh_alarm_gets_through():
    done = fleet("--gateways", 10_000, "--events", 20, "--timeout", 300, timeout_s=600)
    assert done.returncode == 0, done.stderr or done.stdout
    found = json.loads(done.stdout)
    print(found)
    check(found, 10_000, 20)


def test_TP_REC_254_what_does_not_arrive_in_time_is_called_lost_and_the_exit_code_says_so():
    """With this seed no home tries again within 19 s; one clock has the time run out before the first of them does."""
    done = fleet("--gateways", 3, "--events", 2, "--outage", 100, "--rate", 0, "--seed", 3, "--timeout", 0.05)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert (found["handshakes"], found["stored"], found["receipted"], found["lost"]) == (0, 0, 0, 6)


@pytest.mark.parametrize("options", [("--gateways", 0), ("--gateways", 30_000), ("--events", 0), ("--rate", -1)])
def test_a_fleet_that_cannot_be(options):
    done = fleet(*options)
    assert done.returncode == 2
    assert done.stderr.startswith("tryggport: ")


def test_TP_BND_009_simulated_gateways_wait_as_real_ones_do():
    assert [backoff_s(attempt, 1.0) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_s(3, 0.25) == 1
