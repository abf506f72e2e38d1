"""Runs trials through the firmware's own detector in the real MicroPython, on all cores."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tryggport import paths
from tryggport.errors import TryggError
from tryggport.falls.recordings import SAMPLE_BYTES

_CHUNK = 40
_SCRIPT = """
import json, sys
from array import array
from gateway.fall import FallDetector

_LAG = 44 + 1  # samples from a peak to its judgement, and the peak

class Probe(FallDetector):
    def _score(self, found):
        self.candidates.append(list(found)[:-1] + [self._known - _LAG])
        return -32768

source = sys.stdin.buffer
while True:
    line = source.readline()
    if not line:
        break
    rate, count, placement, probing = line.decode().split()
    samples = array("h", source.read(6 * int(count)))
    detector = FallDetector(float(rate), placement)
    verdicts = []
    for i in range(0, len(samples), 3):
        verdict = detector.feed(samples[i], samples[i + 1], samples[i + 2])
        if verdict:
            verdicts.append((verdict.kind, i // 3, verdict.evidence))
    probe = Probe(float(rate), placement)
    probe.candidates = []
    if probing == "1":
        for i in range(0, len(samples), 3):
            probe.feed(samples[i], samples[i + 1], samples[i + 2])
    print(json.dumps((verdicts, probe.candidates)))
"""


@dataclass(frozen=True)
class Recording:
    """What one detector is fed: `samples` are little-endian int16 triplets in mg."""

    rate_hz: float
    samples: bytes
    placement: str = "waist"


@dataclass(frozen=True)
class Verdict:
    kind: str
    sample: int  # index of the sample with which it came
    evidence: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    verdicts: tuple[Verdict, ...]
    candidates: tuple[
        tuple[int, ...], ...
    ]  # of every peak, were no fall ever found: features, 25ths of a second known before it

    @property
    def fallen(self) -> bool:
        return any(verdict.kind == "fallen" for verdict in self.verdicts)


def replay(
    recordings: Sequence[Recording], *, candidates: bool = False, progress: Callable[[int], None] = lambda done: None
) -> list[Outcome]:
    """One fresh detector a recording; `progress` is told of each number of recordings done. TryggError when it fails."""
    chunks = [recordings[i : i + _CHUNK] for i in range(0, len(recordings), _CHUNK)]
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda chunk: _run(chunk, candidates), chunks):
            outcomes += found
            progress(len(found))
    return outcomes


def _run(chunk: Iterable[Recording], candidates: bool) -> list[Outcome]:
    done = subprocess.run(
        [paths.interpreter(), "-X", "heapsize=4M", "-c", _SCRIPT],
        input=b"".join(_messages(chunk, candidates)),
        env=os.environ | {"MICROPYPATH": f"{paths.folder('firmware')}:.frozen"},
        capture_output=True,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()[-300:]
        raise TryggError(f"The detector stopped in MicroPython: {reason}")
    return [_outcome(json.loads(line)) for line in done.stdout.splitlines()]


def _messages(chunk: Iterable[Recording], candidates: bool) -> Iterator[bytes]:
    for recording in chunk:
        count = len(recording.samples) // SAMPLE_BYTES
        yield f"{recording.rate_hz} {count} {recording.placement} {candidates:d}\n".encode()
        yield recording.samples


def _outcome(told: tuple[list[Any], list[Any]]) -> Outcome:
    verdicts = tuple(Verdict(kind, sample, tuple(evidence)) for kind, sample, evidence in told[0])
    return Outcome(verdicts, tuple(tuple(features) for features in told[1]))
