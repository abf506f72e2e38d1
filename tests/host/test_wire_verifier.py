"""The process that verifies: right and wrong signatures, and whatever may become of it."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tryggport.wire import verifier as verifying
from tryggport.wire.envelope import Envelope, SigningKey
from tryggport.wire.verifier import WORTH_IT, Item, Verifier

TOPIC = "trygg/1/kitchen-7/alarm"
KEYS = [SigningKey(ec.generate_private_key(ec.SECP256R1())) for _ in range(3)]


def point(key: SigningKey) -> bytes:
    return key.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def items(count: int, size: int = 100) -> tuple[list[Item], list[bool]]:
    """Every fourth is wrong: signed by another, on another topic, or with other bytes in it."""
    made, right = [], []
    for n in range(count):
        key, topic = KEYS[n % 3], TOPIC
        sealed = key.seal(n.to_bytes(4, "big") * (size // 4), TOPIC)
        if n % 12 == 0:
            key = KEYS[(n + 1) % 3]
        elif n % 12 == 4:
            topic = "trygg/1/kitchen-8/alarm"
        elif n % 12 == 8:
            sealed = sealed[:40] + bytes((sealed[40] ^ 1,)) + sealed[41:]
        made.append(Item(point(key), topic, Envelope.from_bytes(sealed)))
        right.append(n % 4 != 0)
    return made, right


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    made = Verifier()
    yield made
    made.close()


def begin(verifier: Verifier, made: list[Item]) -> None:
    """Once the process is there."""
    deadline = time.monotonic() + 30
    while not verifier.begin(made):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_TP_WIR_004_each_signature_has_its_own_answer(verifier: Verifier) -> None:
    for count, size in ((WORTH_IT + 1, 4), (1000, 1000), (100, 100)):
        made, right = items(count, size)
        begin(verifier, made)
        assert verifier.end() == right


def test_TP_BND_250_its_patience_is_the_documented_one() -> None:
    assert (verifying.PATIENCE_S, verifying.PAUSE_S) == (10, 1)


def test_a_few_are_not_handed_over_and_start_no_process(verifier: Verifier) -> None:
    made, _ = items(WORTH_IT)
    assert not verifier.begin(made) and verifier._process is None


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_TP_BND_250_where_the_process_fails_the_caller_is_told_and_the_next_one_serves(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(verifying, "PATIENCE_S", 0.5)
    made, right = items(1000)
    begin(verifier, made)
    first = verifier._process
    assert first is not None
    os.kill(first.pid, getattr(signal, name))
    assert verifier.end() is None
    assert first.poll() is not None
    begin(verifier, made)
    assert verifier.end() == right


def test_TP_BND_250_a_process_that_takes_nothing_is_found_out(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "PATIENCE_S", 0.5)
    made, right = items(1000, 1000)
    begin(verifier, made)
    assert verifier.end() == right and verifier._process is not None
    os.kill(verifier._process.pid, signal.SIGSTOP)
    assert not verifier.begin(made) and verifier._process is None


def test_a_process_that_died_between_two_lots_is_found_out(verifier: Verifier) -> None:
    made, right = items(100)
    begin(verifier, made)
    assert verifier.end() == right and verifier._process is not None
    verifier._process.kill()
    verifier._process.wait()
    while verifier.begin(made):
        assert verifier.end() is None
    begin(verifier, made)
    assert verifier.end() == right


def test_a_process_that_dies_as_it_starts_is_started_again(verifier: Verifier) -> None:
    made, right = items(100)
    assert not verifier.begin(made) and verifier._process is not None
    verifier._process.kill()
    begin(verifier, made)
    assert verifier.end() == right


def test_what_ends_the_reception_does_not_end_its_verifier_and_its_end_does(verifier: Verifier) -> None:
    made, right = items(100)
    begin(verifier, made)
    assert verifier.end() == right
    process = verifier._process
    assert process is not None and process.stdin is not None
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, name)
    begin(verifier, made)
    assert verifier.end() == right
    process.stdin.close()  # as it is when the reception is killed
    assert process.wait(10) == 0
