"""Every bad input gets one sentence that says what to do, the right exit code, and loses nothing."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from chains import wait_stored
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tryggport import pki
from tryggport.board import VirtualBoard
from tryggport.devices import boards, image
from tryggport.errors import TryggError
from tryggport.pki import authority
from tryggport.sim import broker as brokers
from tryggport.sim.chain import BROKER_NAME, Chain

TRYGGPORT = Path(sys.executable).with_name("tryggport")


def tryggport(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and what is said on standard error."""
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [TRYGGPORT, *map(str, arguments)], capture_output=True, text=True, timeout=60, env=environment
    )
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "pki"
    pki.init(folder)
    return folder


@pytest.fixture(scope="module")
def flashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "virtual.bin"
    path.write_bytes(image.flash_image(boards.load("virtual")))
    return path


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory, flashed: Path) -> Iterator[VirtualBoard]:
    """A gateway that is flashed and not provisioned."""
    with VirtualBoard(tmp_path_factory.mktemp("board"), image=flashed) as board:
        board.wait_for(lambda b: b.booted, timeout_s=20)
        yield board


def provision(port: str, keys: Path, *more: str, gateway: str = "home-0001") -> tuple[int, str]:
    return tryggport("provision", gateway, "--port", port, "--broker", "127.0.0.1:8883", "--pki", keys, *more)


def test_no_such_port(keys: Path) -> None:
    assert provision("/dev/ttyNONE0", keys) == (
        1,
        "tryggport: The port /dev/ttyNONE0 cannot be opened.\n"
        "  Check the cable and that no other program (mpremote, a serial monitor) holds it; `mpremote devs` lists the ports.\n",
    )


def test_a_port_on_which_nothing_answers(keys: Path) -> None:
    master, slave = pty.openpty()
    try:
        name = os.ttyname(slave)
        assert provision(name, keys) == (
            1,
            f"tryggport: No MicroPython answers on {name}.\n  Press the board's reset button and try again; is it flashed?\n",
        )
    finally:
        os.close(master)
        os.close(slave)


def test_no_keys(tmp_path: Path, blank: VirtualBoard) -> None:
    code, said = provision(blank.tty, tmp_path / "none")
    assert (code, said) == (
        1,
        f"tryggport: {tmp_path}/none/root.pem does not exist.\n  Make the keys first: tryggport pki init --dir DIR\n",
    )


def test_a_key_of_the_wrong_kind(tmp_path: Path, keys: Path, blank: VirtualBoard) -> None:
    wrong = tmp_path / "pki"
    shutil.copytree(keys, wrong)
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (wrong / "configuration.key").write_bytes(key)
    assert provision(blank.tty, wrong) == (1, f"tryggport: The key {wrong}/configuration.key is not a P-256 key.\n")


@pytest.mark.parametrize(
    ("gateway", "more", "said"),
    [
        ("Home 1", (), "tryggport: 'Home 1' is not a gateway id.\n  4 to 24 of a-z, 0-9 and hyphen.\n"),
        (
            "home-0001",
            ("--broker", "nowhere"),
            "tryggport: 'nowhere' is not HOST:PORT.\n  For example: --broker alarm.example.no:8883\n",
        ),
        (
            "home-0001",
            ("--sensor", "wrist"),
            "tryggport: A fall sensor cannot be worn at the wrist.\n  Choose waist, pocket or pendant.\n",
        ),
        (
            "home-0001",
            ("--time-server", "ntp.example.no:x"),
            "tryggport: 'ntp.example.no:x' is not HOST:PORT.\n  For example: --broker alarm.example.no:8883\n",
        ),
        (
            "home-0001",
            ("--time-server", "a.example") * 5,
            "tryggport: A gateway asks at most 4 time servers.\n  One or three is best.\n",
        ),
    ],
)
def test_options_that_make_no_sense(keys: Path, gateway: str, more: tuple[str, ...], said: str) -> None:
    assert provision("/dev/ttyNONE0", keys, *more, gateway=gateway) == (2, said)


def test_a_full_disk(keys: Path) -> None:
    assert tryggport("flash", "--image", "/dev/full") == (
        1,
        "tryggport: /dev/full cannot be written: No space left on device.\n",
    )


def test_an_unknown_board(tmp_path: Path) -> None:
    assert tryggport("flash", "--board", "toaster", "--image", tmp_path / "x.bin") == (
        2,
        "tryggport: There is no board named toaster.\n  Known boards: virtual.\n",
    )
    assert not (tmp_path / "x.bin").exists()


def test_a_port_of_the_network_in_use(keys: Path, tmp_path: Path) -> None:
    port = brokers.free_port()
    with (
        brokers.mosquitto(tmp_path / "first", keys, port),
        pytest.raises(TryggError) as refused,
        brokers.mosquitto(tmp_path / "second", keys, port),
    ):
        pass
    assert str(refused.value) == f"Port {port} on 127.0.0.1 is in use. Stop what listens there, or name another port."


def test_a_gateway_that_is_not_provisioned_says_so(blank: VirtualBoard) -> None:
    assert "gateway: not provisioned (/trygg/root.pub is missing): run `tryggport provision`" in blank.console()


def test_TP_IDN_005_a_gateway_refuses_what_is_not_for_it_and_works_as_before(
    tmp_path: Path, keys: Path, flashed: Path
) -> None:
    with VirtualBoard(tmp_path / "board", image=flashed) as board:
        assert provision(board.tty, keys, gateway="home-0002")[0] == 0
        other = tmp_path / "other"
        pki.init(other)
        for name in ("configuration.key",):  # signed by a key that is in nobody's trust list
            shutil.copy(other / name, keys / name)
        code, said = provision(board.tty, keys, gateway="home-0002")
        assert (code, said) == (
            1,
            "tryggport: The gateway refused: trust list or configuration refused (unknown_key): provision the gateway again.\n",
        )
        code, said = provision(board.tty, keys, gateway="home-0003")
        assert (code, said) == (
            1,
            f"tryggport: The board on {board.tty} is already gateway home-0002.\n  Type --replace to give it another identity.\n",
        )
        board.wait_for(lambda b: b.console().count("gateway: home-0002") >= 3, timeout_s=20)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto") as chain:
        yield chain


def fault_of_broker(chain: Chain, folder: Path, sentence: str) -> None:
    """A press while the broker has the certificates of `folder`: the gateway says the sentence, and the alarm waits."""
    before = len(wait_stored(chain, "help", 0))
    chain.stop_reception()
    chain.stop_broker()
    chain.start_broker(folder)
    chain.board.press("help")
    chain.board.wait_for(lambda board: sentence in board.console(), timeout_s=30)
    assert chain.wait_light("sending")
    chain.stop_broker()
    chain.start_broker()
    chain.start_reception()
    assert len(wait_stored(chain, "help", before + 1, timeout_s=60)) == before + 1


def test_a_broker_of_another_authority(chain: Chain, tmp_path: Path) -> None:
    pki.init(tmp_path / "other")
    fault_of_broker(
        chain,
        tmp_path / "other",
        "mqtt: The certificate is not correctly signed by the trusted CA: another authority's broker; check the address, "
        "or provision the gateway for this one",
    )


def test_a_broker_whose_certificate_has_expired(chain: Chain, tmp_path: Path) -> None:
    expired = tmp_path / "expired"
    shutil.copytree(chain.pki_folder, expired)
    for name in ("broker.pem", "broker.key"):
        (expired / name).unlink()
    root = authority.load_issuer(expired, "root", None)
    names = authority.Names("tryggport broker", (BROKER_NAME,))
    authority.issue_broker(expired, root, names, life=timedelta(hours=-6))
    fault_of_broker(chain, expired, "mqtt: The certificate validity has expired: renew the broker's certificate")


def test_TP_WIR_022_a_clock_that_starts_in_2000_is_lifted_to_the_floor(tmp_path: Path) -> None:
    """Without the floor mbedTLS would refuse every broker: it sees the same clock, through libfaketime."""
    with Chain(tmp_path / "cold", broker="mosquitto", clock="cold") as chain:
        first, *_ = wait_stored(chain, "clock", 1)
        assert abs(first["utc_ms"] - time.time() * 1000) < 60_000
        (boot,) = wait_stored(chain, "boot", 1)
        assert boot["utc_ms"] is None, "nobody had told it the time yet"
        assert chain.board.state()["rtc_s"] > 1_795_000_000


@pytest.mark.parametrize("verb", [(), ("pki",), ("provision",), ("reception", "run"), ("board", "run")])
def test_help_is_there(verb: tuple[str, ...]) -> None:
    done = subprocess.run([TRYGGPORT, *verb, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "Usage" in done.stdout


def test_an_unknown_verb_or_option_is_a_usage_error() -> None:
    assert tryggport("flsh")[0] == 2
    assert tryggport("provision")[0] == 2
