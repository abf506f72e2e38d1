"""How far a long measurement has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is being done, how many of how many


def silent(what: str, done: int, of: int) -> None:
    """Tells nobody."""


def counter(progress: Progress, what: str, of: int) -> Callable[[int], None]:
    """A function that takes how many more are done, and reports the sum."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        progress(what, done, of)

    return advance
