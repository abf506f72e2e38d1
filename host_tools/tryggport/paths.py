"""Where the repository's firmware and boards lie: the tools run from a checkout (`pip install -e .`)."""

from pathlib import Path

from tryggport.errors import TryggError

ROOT = Path(__file__).parents[2]


def folder(name: str) -> Path:
    """The repository's folder `name`; TryggError where the tools were installed without it."""
    path = ROOT / name
    if not path.is_dir():
        raise TryggError(f"{path} is missing.", "Run the tools from a checkout of the repository, where `make setup` was typed.")
    return path
