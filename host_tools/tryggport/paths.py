"""Where the repository's firmware and boards lie, and the interpreter: the tools run from a checkout (`pip install -e .`)."""

import os
import sys
from pathlib import Path

from tryggport.errors import TryggError

ROOT = Path(__file__).parents[2]


def folder(name: str) -> Path:
    """The repository's folder `name`; TryggError where the tools were installed without it."""
    path = ROOT / name
    if not path.is_dir():
        raise TryggError(
            f"{path} is missing.", "Run the tools from a checkout of the repository, where `make setup` was typed."
        )
    return path


def interpreter() -> str:
    """The MicroPython binary: the one that MICROPYTHON names, else the one of this environment."""
    path = os.environ.get("MICROPYTHON") or str(Path(sys.executable).with_name("micropython"))
    if not os.access(path, os.X_OK):
        raise TryggError(f"There is no MicroPython interpreter at {path}.", "Type: make setup, or set MICROPYTHON.")
    return path
