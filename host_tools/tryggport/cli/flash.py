"""`tryggport flash`: what is written to a board."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from tryggport.devices import boards, image
from tryggport.errors import TryggError


def command(
    image_file: Annotated[Path, typer.Option("--image", help="Write the flash image to this file.")],
    board: Annotated[str, typer.Option("--board", help="Which board: a folder of boards/.")] = "virtual",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the flash image of a board: partition table, and the firmware in a LittleFS."""
    target = boards.load(board)
    content = image.flash_image(target)
    try:
        image_file.parent.mkdir(parents=True, exist_ok=True)
        image_file.write_bytes(content)
    except OSError as e:
        raise TryggError(f"{image_file} cannot be written: {e.strerror}.") from e
    if json:
        print(jsonlib.dumps({"board": board, "image": str(image_file), "bytes": len(content)}))
    else:
        print(f"{image_file}: {len(content):,} bytes for board {board}")
