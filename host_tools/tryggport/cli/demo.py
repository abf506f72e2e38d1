"""`tryggport demo`: the main job on this machine, with a virtual gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    once: Annotated[
        bool, typer.Option("--once", help="Play one fall with one power cut, without keys to press, and end.")
    ] = False,
    broker: Annotated[str, typer.Option("--broker", help="auto, mosquitto or iotcore (built in).")] = "auto",
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep flash, keys and database in this folder.")] = None,
) -> None:
    """Watch a fall become a signed, receipted alarm; cut the network and the power, and see nothing lost."""
    from tryggport.sim import demo  # needs a terminal and pseudo-terminals, which Windows lacks

    demo.run(once=once, broker=broker, folder=keep)
