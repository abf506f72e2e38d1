"""The serial line to one gateway, through mpremote's transport."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tryggport.errors import TryggError

CHUNK_BYTES = 512
OPENINGS, REOPEN_S = 4, 0.25
RESET_S = 0.3
ATTEMPTS_S = (3, 3, 3, 5)  # each interrupts anew


class Link:
    """A gateway in raw REPL, its application stopped. Use as a context manager; the gateway starts anew at the end.

    Raises TryggError when the port does not exist, is in use, or no MicroPython answers on it.
    """

    def __init__(self, port: str) -> None:
        self.port = port

    def __enter__(self) -> Self:
        # Imported here: it brings pyserial's code for one operating system, and nothing else of this package needs it.
        from mpremote.transport import TransportError, TransportExecError
        from mpremote.transport_serial import SerialTransport
        from serial import SerialException

        self._line_errors = (TransportError, SerialException, OSError)
        self._code_error = TransportExecError
        for attempt in range(OPENINGS):
            try:
                self._transport = SerialTransport(self.port, baudrate=115200, timeout=10)
                break
            except self._line_errors as e:
                if attempt + 1 == OPENINGS:
                    raise TryggError(
                        f"The port {self.port} cannot be opened.",
                        "Check the cable and that no other program (mpremote, a serial monitor) holds it; "
                        "`mpremote devs` lists the ports.",
                    ) from e
                time.sleep(REOPEN_S)  # the program before may be about to let go of it
        for timeout_s in ATTEMPTS_S:
            try:
                with contextlib.redirect_stdout(io.StringIO()):  # mpremote prints what it did not understand
                    self._transport.enter_raw_repl(timeout_overall=timeout_s)
                return self
            except self._line_errors as e:  # it may be starting just now, and have missed the interrupt
                error = e
        self._transport.close()
        raise TryggError(
            f"No MicroPython answers on {self.port}.", "Press the board's reset button and try again; is it flashed?"
        ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._transport.exec_raw_no_follow("import machine; machine.reset()")
            time.sleep(RESET_S)  # an interrupt that comes before the reset would be lost with it
        except self._line_errors:
            pass  # the cable may be out: the gateway starts anew by its power switch
        self._transport.close()

    def call(self, function: str, *arguments: str | int) -> dict[str, Any]:
        """Calls `gateway.provision.<function>` on the gateway; returns the JSON object that it prints."""
        listed = ", ".join(repr(argument) for argument in arguments)
        output = self._run(f"from gateway import provision; provision.{function}({listed})")
        try:
            answer = json.loads(output.decode().strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise TryggError(
                f"The gateway on {self.port} gave no sensible answer to {function}.", "Flash it again."
            ) from None
        if "error" in answer:
            raise TryggError(f"The gateway refused: {answer['error']}.")
        return dict(answer)

    def write(self, path: str, data: bytes, progress: Callable[[int, int], None] | None = None) -> None:
        """Writes a file on the gateway."""
        try:
            self._transport.fs_writefile(path, data, CHUNK_BYTES, progress)
        except self._line_errors as e:
            raise _broken(self.port) from e

    def _run(self, code: str) -> bytes:
        try:
            return bytes(self._transport.exec(code))
        except self._code_error as e:
            last = e.error_output.strip().splitlines()[-1] if e.error_output.strip() else "no reason given"
            if "ImportError" in last:
                raise TryggError(f"There is no Tryggport firmware on {self.port}.", "Flash it first.") from e
            raise TryggError(f"The gateway on {self.port} failed: {last}.") from e
        except self._line_errors as e:
            raise _broken(self.port) from e


def _broken(port: str) -> TryggError:
    return TryggError(
        f"The line to {port} broke.", "Put the cable back and type the same command again: it goes on where it stopped."
    )
