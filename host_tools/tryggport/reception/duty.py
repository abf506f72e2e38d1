"""The leader's duty: what is done by the clock runs in the one worker that holds the lease, for as long as it does (TP-REC-201).

lease thread:  attempt ── every RENEW_S ── attempt ── … ── release
duty thread:            └ held: enter `work()` ── lost: leave it ┘
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Self

from tryggport.errors import TryggError, in_words
from tryggport.reception.lease import Lease

RENEW_S = 2.0  # TP-BND-242
UNFIT_S = 15.0  # TP-BND-242
LOOK_S = 0.1
STOP_S = 1.0
AGAIN_S = 10.0  # when the work could not begin


class Duty:
    """A context. `work` makes what runs while we lead; `check` is called with each look at the lease, and ends us when it raises.
    A leader that is not `fit` for a while gives the lease to another one.

    The first attempt is made on entry: who is alone leads from the beginning, and work that cannot begin then raises TryggError.
    """

    def __init__(
        self, lease: Lease, work: Callable[[], AbstractContextManager[Any]], say: Callable[[str], None], *,
        check: Callable[[], None] = lambda: None, fit: Callable[[], bool] = lambda: True,
        fail: Callable[[TryggError], None] = lambda e: None,
        on_step: Callable[[str, dict[str, Any]], None] = lambda name, detail: None, renew_s: float = RENEW_S,
        unfit_s: float = UNFIT_S,
    ) -> None:  # fmt: skip
        self._lease = lease
        self._work = work
        self._say = say
        self._check = check
        self._fail = fail
        self._on_step = on_step
        self._renew_s = renew_s
        self._fit = fit
        self._unfit_s = unfit_s
        self._fit_at_s = time.monotonic()
        self._not_before_s = 0.0
        self._running: ExitStack | None = None
        self._stop = threading.Event()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, name="lease", daemon=True),
            threading.Thread(target=self._serve, name="duty", daemon=True),
        ]

    def leads(self) -> bool:
        return self._lease.held

    def __enter__(self) -> Self:
        if self._lease.attempt():
            try:
                self._begin()
            except BaseException:
                self._lease.release()
                raise
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the work while the lease is still being prolonged, and gives it to the next one at once.

        After a failure, which is mostly the database's, it waits for nobody: the lease ends by itself.
        """
        timeout_s = None if kind is None else STOP_S
        self._stop.set()
        self._threads[1].join(timeout_s)
        self._done.set()
        self._threads[0].join(timeout_s)
        if kind is None:
            self._give_up()

    def _keep(self) -> None:
        while not self._done.wait(self._renew_s):
            try:
                self._check()
            except Exception as e:
                self._fail(e if isinstance(e, TryggError) else TryggError(in_words(e)))
                return
            try:
                if self._running is None or self._fit():
                    self._fit_at_s = time.monotonic()
                if self._lease.held or (self._running is None and time.monotonic() >= self._not_before_s):
                    self._lease.attempt()
            except Exception as e:
                self._say(in_words(e))

    def _serve(self) -> None:
        """Whatever fails here, the lease is given up: prolonged for one that does no work it would keep all others from it."""
        while not self._stop.wait(LOOK_S):
            try:
                self._look()
            except Exception as e:
                self._say(f"cannot lead: {in_words(e)}")
                self._give_up()
        self._end()

    def _look(self) -> None:
        if self._running is not None and not self._lease.held:
            self._say("leads no more")
            self._end()
        elif self._running is not None and self._fit_at_s < time.monotonic() - self._unfit_s:
            self._say("has no broker: another worker leads")
            self._end()
            self._give_up()
        elif self._running is None and self._lease.held:
            self._begin()

    def _begin(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._work())
            self._running = stack.pop_all()
        self._on_step("lead", {"term": self._lease.term})

    def _end(self) -> None:
        if self._running is not None:
            running, self._running = self._running, None
            running.close()
            self._on_step("lead.end", {})

    def _give_up(self) -> None:
        """Another one may be able to."""
        self._not_before_s = time.monotonic() + AGAIN_S
        try:
            self._lease.release()
        except Exception as e:
            self._say(in_words(e))
