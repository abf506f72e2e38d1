"""Flash images and provisioning, as far as no gateway is needed; and that all of it runs where there are no terminals (Windows)."""

from __future__ import annotations

import json
import subprocess
import sys

import littlefs
import pytest
from tryggport.devices import boards, image, partitions
from tryggport.errors import TryggError

BLOCKED = ("pty", "termios", "fcntl", "resource")
VERBS = (
    "tryggport.cli", "tryggport.cli.flash", "tryggport.cli.provision", "tryggport.cli.pki", "tryggport.devices.image",
    "tryggport.devices.provision", "tryggport.devices.link", "tryggport.pki",
)  # fmt: skip


def test_the_technicians_verbs_import_without_terminals() -> None:
    code = (
        f"import sys\nfor name in {BLOCKED!r}: sys.modules[name] = None\n"
        f"import importlib\nfor name in {VERBS!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_holds_the_partition_table_and_the_firmware() -> None:
    board = boards.load("virtual")
    flash = image.flash_image(board)
    assert len(flash) == board.flash_bytes
    assert partitions.from_bytes(flash[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + 0xC00]) == board.partitions
    vfs = board.partition("vfs")
    fs = littlefs.LittleFS(block_size=4096, block_count=vfs.size // 4096, mount=False)
    fs.context.buffer = bytearray(flash[vfs.offset : vfs.offset + vfs.size])
    fs.mount()
    assert {"boot.py", "main.py", "board.json", "lib"} == set(fs.listdir("/"))
    with fs.open("/board.json", "rb") as file:
        assert json.loads(file.read())["pins"] == board.wiring["pins"]
    with fs.open("/lib/gateway/app.mpy", "rb") as file:
        assert file.read(2) == b"M\x06", "bytecode of .mpy version 6"


def test_the_journal_is_erased_in_a_new_image() -> None:
    board = boards.load("virtual")
    journal = board.partition("journal")
    assert set(image.flash_image(board)[journal.offset : journal.offset + journal.size]) == {0xFF}


def test_the_same_firmware_makes_the_same_image() -> None:
    board = boards.load("virtual")
    assert image.flash_image(board) == image.flash_image(board)


def test_a_board_without_native_code_gets_those_modules_as_source() -> None:
    modules = image.compile_firmware("")
    assert "/lib/gateway/field.py" in modules and "/lib/gateway/field.mpy" not in modules
    assert "/lib/gateway/app.mpy" in modules


@pytest.mark.parametrize("native", ["x64", "rv32imc", "xtensawin"])
def test_the_firmware_compiles_for_every_kind_of_board(native: str) -> None:
    modules = image.compile_firmware(native)
    assert all(path.endswith(".mpy") for path in modules)


def test_an_unknown_board_or_partition_is_explained() -> None:
    with pytest.raises(TryggError, match="There is no board named toaster"):
        boards.load("toaster")
    with pytest.raises(TryggError, match="has no partition named ota_9"):
        boards.load("virtual").partition("ota_9")
