"""The parts of a site in processes of their own, as an operator starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tryggport.errors import TryggError

COMMAND = "import sys; from tryggport.cli import main; sys.argv[0] = 'tryggport'; main()"
STOP_S = 60


@contextmanager
def reception(
    pki_dir: Path, database_url: str, port: int, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """`tryggport reception run` on the broker at localhost, ready; told to end on leaving. Raises TryggError when it does not start."""
    arguments = [
        "reception",
        "run",
        "--pki",
        str(pki_dir),
        "--db",
        database_url,
        "--broker",
        f"localhost:{port}",
        *options,
    ]
    process = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        said = []
        for line in process.stdout or ():
            said.append(line.strip())
            if line.strip().endswith("ready"):
                break
        else:
            raise TryggError(f"The reception did not start: {' '.join(said) or 'it says nothing'}")
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=STOP_S)
