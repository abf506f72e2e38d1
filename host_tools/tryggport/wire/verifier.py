"""Verifies signatures in a process of its own, while the reception stores what came before.

OpenSSL needs no lock of Python's, but in a thread each call lets go of it and then waits for its turn: threads that verify win
little. Both ends speak frames of CBOR over the child's standard input and output: a list of what is to be verified, a byte a
signature (1: it is theirs).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, NamedTuple

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from tryggport.wire.envelope import Envelope, EnvelopeError

WORTH_IT = 32  # fewer envelopes are verified in the time that handing them over takes
PATIENCE_S = 10.0  # TP-BND-250: for an answer; the reception verifies by itself then
PAUSE_S = 1.0  # between two starts
REMEMBERED = 50_000  # keys
CORES = os.cpu_count() or 1
READY = b"+"


class Item(NamedTuple):
    """An envelope, and the key that it must be signed with: an uncompressed point."""

    public: bytes
    topic: str
    envelope: Envelope


class Verifier:
    """`begin` hands over, `end` has the answers. The process starts when first needed, and is not waited for; where it fails,
    the caller verifies by itself."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._not_before_s = 0.0
        self._count = 0

    def begin(self, items: Sequence[Item]) -> bool:
        """Whether the process has taken them, so that `end` is to be called."""
        if len(items) <= WORTH_IT or CORES < 2 or not self._is_ready():
            return False
        try:
            _send(
                _pipe(self._process, "stdin"),
                [[i.public, i.topic, [i.envelope.kid, i.envelope.payload, i.envelope.signature]] for i in items],
            )
        except OSError:
            self.close()
            return False
        self._count = len(items)
        return True

    def end(self) -> list[bool] | None:
        """Whether each signature is right; None when the process has failed."""
        answer = _pipe(self._process, "stdout")
        found = b""
        while len(found) < self._count:
            if not select.select([answer], [], [], PATIENCE_S)[0] or not (more := os.read(answer.fileno(), 65_536)):
                self.close()
                return None
            found += more
        return [byte == 1 for byte in found]

    def close(self) -> None:
        process, self._process, self._ready = self._process, None, False
        if process is not None:
            process.kill()  # it holds nothing
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _is_ready(self) -> bool:
        if self._process is None:
            if time.monotonic() < self._not_before_s:
                return False
            command = [sys.executable, "-m", __name__]
            self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._not_before_s = time.monotonic() + PAUSE_S
        if not self._ready:
            answer = _pipe(self._process, "stdout")
            if not select.select([answer], [], [], 0)[0]:
                return False
            self._ready = os.read(answer.fileno(), 1) == READY
            if not self._ready:  # it died as it started
                self.close()
        return self._ready


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers until the other end is gone. What ends the reception is for it to tell us."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    answers.write(READY)
    answers.flush()
    keys: dict[bytes, ec.EllipticCurvePublicKey] = {}
    while size := requests.read(4):
        items = cbor2.loads(requests.read(int.from_bytes(size, "big")))
        answers.write(bytes(_is_right(keys, *item) for item in items))
        answers.flush()


def _is_right(keys: dict[bytes, ec.EllipticCurvePublicKey], public: bytes, topic: str, envelope: list[bytes]) -> bool:
    key = keys.get(public)
    if key is None:
        if len(keys) >= REMEMBERED:
            keys.clear()
        key = keys[public] = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    try:
        Envelope(*envelope).verify(key, topic)
    except EnvelopeError:
        return False
    return True


def _send(pipe: IO[bytes], items: object) -> None:
    """Raises OSError."""
    data = cbor2.dumps(items)
    whole = memoryview(len(data).to_bytes(4, "big") + data)
    os.set_blocking(pipe.fileno(), False)
    while whole:
        if not select.select([], [pipe], [], PATIENCE_S)[1]:
            raise TimeoutError
        whole = whole[os.write(pipe.fileno(), whole) :]


def _pipe(process: subprocess.Popen[bytes] | None, name: str) -> IO[bytes]:
    pipe: IO[bytes] | None = getattr(process, name, None)
    if pipe is None:
        raise OSError("the verifying process is gone")
    return pipe


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
