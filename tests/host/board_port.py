"""Runs code on a virtual board through its port, as mpremote does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mpremote.transport_serial import SerialTransport
from tryggport.board import VirtualBoard

Run = Callable[[str], str]


@contextmanager
def port(board: VirtualBoard) -> Iterator[Run]:
    """`run(code)` returns what the code prints and raises when it fails; the board is not reset for it."""
    transport = SerialTransport(str(board.folder / "tty"))
    try:
        transport.enter_raw_repl(soft_reset=False)
        yield lambda code: transport.exec(code).decode()
        transport.exit_raw_repl()
    finally:
        transport.close()


def leave_running(board: VirtualBoard, code: str) -> None:
    """Start the code at the prompt and go away."""
    transport = SerialTransport(str(board.folder / "tty"))
    try:
        transport.enter_raw_repl(soft_reset=False)
        transport.exec_raw_no_follow(code)
    finally:
        transport.close()


def start_main(board: VirtualBoard, source: str) -> None:
    """Make `source` the board's main.py and press reset."""
    with port(board) as run:
        run(f"with open('main.py', 'w') as f: f.write({source!r})")
    board.reset()


def remove_main(board: VirtualBoard) -> None:
    with port(board) as run:
        run("import os\nif 'main.py' in os.listdir(): os.remove('main.py')")
    board.reset()
    board.wait_for(lambda b: b.booted)
