"""The one error type that reaches a person."""


class TryggError(Exception):
    """A bad input or a world that is not as it must be: one clear sentence, and what to do about it.

    The command line prints ``message`` and ``hint`` and exits with 1; `usage` errors exit with 2.
    """

    def __init__(self, message: str, hint: str = "", *, usage: bool = False) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint
        self.usage = usage


def in_words(e: Exception) -> str:
    """What a thread says that has to go on whatever fails: a silent death of it would be worse than any fault of ours."""
    return str(e) if isinstance(e, TryggError) else f"fault in this program: {e!r}"
