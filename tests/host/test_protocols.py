"""events.toml is the single source of kinds, and its codes keep to the standards they are taken from."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads((ROOT / "protocols/events.toml").read_text())


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "protocols" / script, *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_generated_code_is_what_events_toml_says() -> None:
    done = run("generate.py", "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_every_requirement_has_a_test_or_is_listed() -> None:
    done = run("requirements.py")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("group", ["kind", "outcome"])
def test_no_number_means_two_things(group: str) -> None:
    codes = [entry["code"] for entry in TABLE[group].values()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("group", ["state", "quality", "cause", "fault", "verdict", "data"])
def test_no_value_means_two_things(group: str) -> None:
    assert len(TABLE[group].values()) == len(set(TABLE[group].values()))


@pytest.mark.parametrize("name", TABLE["kind"])
def test_a_kind_can_be_told_in_SCAIP_and_in_both_languages(name: str) -> None:
    kind = TABLE["kind"][name]
    for code in (kind["scaip"], kind.get("cleared", kind["scaip"])):
        assert code["mty"] in ("ME", "RE", "IN", "PI")
        assert 0 <= code["dty"] <= 51
        assert 0 <= code["stc"] <= 127
    assert all(kind["text"][language] for language in ("en", "nb"))
    assert (kind["class"] == "alarm") == (kind["scaip"]["mty"] == "ME")


def test_signals_can_be_told_apart_by_eye() -> None:
    patterns = [(s["light"], s["on"], s["off"]) for s in TABLE["signal"].values()]
    assert len(patterns) == len(set(patterns))
    assert all(s["on"] >= 100 for s in TABLE["signal"].values() if s["off"])
