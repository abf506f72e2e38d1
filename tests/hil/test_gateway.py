"""A gateway on a serial port: the virtual board, or the one of metal that TRYGG_PORT names (it is provisioned by this!)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tryggport import pki
from tryggport.board import VirtualBoard
from tryggport.board.nor import Nor
from tryggport.board.nvs import Nvs
from tryggport.devices import boards, image
from tryggport.devices.configuration import Placement
from tryggport.devices.link import Link
from tryggport.devices.provision import provision


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if "TRYGG_PORT" in os.environ:
        yield os.environ["TRYGG_PORT"]
        return
    folder = tmp_path_factory.mktemp("hil")
    (folder / "virtual.bin").write_bytes(image.flash_image(boards.load("virtual")))
    with VirtualBoard(folder / "board", image=folder / "virtual.bin") as board:
        yield board.tty
    assert_no_secret_was_printed(folder / "board")


def assert_no_secret_was_printed(folder: Path) -> None:
    """The two secrets in the virtual board's NVS are nowhere on its console."""
    board = boards.load("virtual")
    area = board.partition("nvs")
    with (folder / "flash.bin").open("r+b", buffering=0) as file:
        nvs = Nvs(Nor(board.flash_bytes, file=file), area.offset, area.size)
        secrets = [nvs.get_blob("trygg", name) for name in ("tls", "sign")]
    printed = (folder / "console.log").read_bytes()
    assert b"requests" in printed or b"tls" in printed, "the console was recorded"
    for secret in secrets:
        assert len(secret) == 32
        assert secret not in printed and secret.hex().encode() not in printed


def test_it_says_who_it_is(port: str) -> None:
    with Link(port) as link:
        hello = link.call("hello")
    assert set(hello) == {"hardware", "firmware", "gateway"}
    assert len(bytes.fromhex(hello["hardware"])) >= 4


def test_TP_IDN_001_keys_are_made_once_and_stay(port: str) -> None:
    with Link(port) as link:
        first = link.call("requests", "hil-0001")
        again = link.call("requests", "hil-0001")
    assert first == again, "deterministic signatures over the same keys"
    requests = {name: x509.load_der_x509_csr(bytes.fromhex(der)) for name, der in first.items()}
    assert all(request.is_signature_valid for request in requests.values())
    assert requests["tls"].public_key() != requests["sign"].public_key()


def test_provisioning_twice_is_provisioning_once(port: str, tmp_path: Path) -> None:
    pki.init(tmp_path / "pki")
    placement = Placement("hil-0001", (("broker.example", 8883),))
    first = provision(port, placement, tmp_path / "pki", replace=True)
    assert provision(port, placement, tmp_path / "pki") == first
    with Link(port) as link:
        assert link.call("hello")["gateway"] == "hil-0001"
