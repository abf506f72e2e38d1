"""The control socket of a virtual board: one JSON object a line each way.

Request: {"do": verb, "args": [...]}. Answer: {"ok": result} or {"error": sentence, "hint": what to do}.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tryggport.errors import TryggError

if TYPE_CHECKING:
    from tryggport.board.virtual import VirtualBoard

_LONGEST = 1 << 24
_ANSWER_S = 30.0
_DEFAULT_RATE_HZ = 50.0


def _choose(word: str, choices: dict[str, bool]) -> bool:
    if word not in choices:
        raise TryggError(f"{word} is not one of {', '.join(choices)}.", usage=True)
    return choices[word]


def _press(board: VirtualBoard, name: str, ms: str = "80") -> None:
    board.press(name, float(ms))


def _network(board: VirtualBoard, how: str) -> None:
    if how == "silent":
        board.network(False, link=True)
    else:
        board.network(_choose(how, {"up": True, "down": False}))


def _power(board: VirtualBoard, how: str, at: str | None = None) -> None:
    if how == "cut" and at:
        board.plan_cut(at)
    elif _choose(how, {"on": True, "cut": False}):
        board.power_on()
    else:
        board.power_cut()


def _feed(board: VirtualBoard, samples: list[list[int]], rate_hz: float = _DEFAULT_RATE_HZ) -> None:
    board.feed([(x, y, z) for x, y, z in samples], rate_hz)


_VERBS: dict[str, Callable[..., Any]] = {
    "press": _press,
    "hold": lambda board, name: board.hold(name),
    "release": lambda board, name: board.release(name),
    "network": _network,
    "delay": lambda board, ms: board.delay_ms(float(ms)),
    "power": _power,
    "mains": lambda board, how: board.mains(_choose(how, {"on": True, "off": False})),
    "feed": _feed,
    "reset": lambda board: board.reset(),
    "state": lambda board: board.state(),
}


def execute(board: VirtualBoard, request: Any) -> dict[str, Any]:
    """Do what one request asks and return its answer."""
    try:
        return {"ok": _VERBS[request["do"]](board, *request.get("args", []))}
    except TryggError as e:
        return {"error": e.message, "hint": e.hint}
    except (KeyError, TypeError, ValueError):
        return {"error": "The board does not understand that.", "hint": f"It knows: {', '.join(_VERBS)}."}


class Control:
    """Listens on `path` (mode 0600) in the board's event loop."""

    def __init__(self, board: VirtualBoard, path: Path) -> None:
        self._board, self._path = board, path
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
        except OSError as e:
            listener.close()
            raise TryggError(f"{self._path} cannot be a socket: {e}.", "Use a folder with a shorter path.") from e
        os.chmod(self._path, 0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                writer.write(json.dumps(execute(self._board, json.loads(line))).encode() + b"\n")
                await writer.drain()
        writer.close()


def ask(folder: Path, verb: str, *args: Any) -> Any:
    """Send one request to the board that runs in `folder` and return its result. Raises TryggError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.settimeout(_ANSWER_S)
        try:
            wire.connect(str(folder / "ctl.sock"))
        except OSError as e:
            raise TryggError(f"No virtual board runs in {folder}.", "Start one: tryggport board run --dir DIR") from e
        wire.sendall(json.dumps({"do": verb, "args": args}).encode() + b"\n")
        with wire.makefile("rb") as lines:
            answer = json.loads(lines.readline() or b'{"error": "The board has gone."}')
    if "error" in answer:
        raise TryggError(answer["error"], answer.get("hint", ""))
    return answer["ok"]


def read_samples(path: Path) -> list[list[int]]:
    """The rows x,y,z in mg of a CSV file; a row of names at the top is skipped. Raises TryggError."""
    try:
        rows = [row for row in csv.reader(path.read_text().splitlines()) if row]
        return [[round(float(field)) for field in row[:3]] for row in (rows[1:] if rows[0][0].isalpha() else rows)]
    except (OSError, ValueError, IndexError) as e:
        raise TryggError(f"{path} does not hold rows of x,y,z in mg.") from e
