"""Instructions of ES256 in the real MicroPython, counted by callgrind: ``python tests/bench/sign.py`` prints JSON.

The script under test calls time.ticks_cpu() between the things to be measured; callgrind writes its counters at each call, so start, imports
and the pauses are not counted, and one run measures everything.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
MICROPYTHON = os.environ.get("MICROPYTHON", str(Path(sys.executable).parent / "micropython"))
ROUNDS = 4
SCRIPT = f"""
import sys
sys.path[:0] = ["firmware", "tests/bench"]
from gateway import curve, p256
import plain_p256
import gc, time
from hashlib import sha256
secret = sha256(b"secret").digest()
digests = [sha256(b"%d" % i).digest() for i in range({ROUNDS})]
public = p256.public_key(secret)
signatures = [p256.sign(secret, digest) for digest in digests]
cut = time.ticks_cpu

def measure(name, function):
    gc.collect()
    cut()
    result = function()
    cut()
    print(name)
    return result

def slices(name, steps):
    gc.collect()
    cut()
    for _ in steps:
        cut()
        print(name)
    cut()
    print(name)

for digest, signature in zip(digests, signatures):
    assert measure("plain_sign_ir", lambda: plain_p256.sign(secret, digest)) == signature
    assert measure("sign_ir", lambda: p256.sign(secret, digest)) == signature
    p256._kept[:] = None, None
    assert measure("verify_ir", lambda: p256.verify(public, digest, signature))
    assert measure("verify_again_ir", lambda: p256.verify(public, digest, signature))
    measure("public_key_ir", lambda: p256.public_key(secret))
p256._kept[:] = None, None
slices("sign_slice_ir", p256.sign_steps(secret, digests[0]))
slices("verify_slice_ir", p256.verify_steps(public, digests[0], signatures[0]))
"""


def measure() -> dict[str, int]:
    """Mean instructions by name; the `_slice_ir` ones are the largest slice between two yields. `verify_ir` is with a new key."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "sign.py")
        script.write_text(SCRIPT)
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--dump-before=time_ticks_cpu",
             MICROPYTHON, "-X", "heapsize=192k", str(script)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        parts = [part_instructions(Path(folder, f"out.{i + 1}")) for i in range(len(list(Path(folder).glob("out.*"))))]
    return summary(done.stdout.split(), parts)


def part_instructions(part: Path) -> int:
    found = re.search(r"^summary: (\d+)", part.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{part} is no profile of callgrind")
    return int(found[1])


def summary(names: list[str], parts: list[int]) -> dict[str, int]:
    """The part before a name's line was printed is that name's; a `measure` or the start of `slices` leaves one more before it."""
    counts: dict[str, list[int]] = {}
    rest = iter(parts)
    before = ""
    for name in names:
        if not (name.endswith("_slice_ir") and name == before):
            next(rest)
        counts.setdefault(name, []).append(next(rest))
        before = name
    if next(rest, None) is not None:
        raise RuntimeError("callgrind wrote another number of parts than the script made")
    return {name: max(v) if name.endswith("_slice_ir") else sum(v) // len(v) for name, v in counts.items()}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
