"""What a board does before the REPL, once the file system is there: run boot.py and main.py."""

import gc
import os
import sys

import _boot
import _hub
from micropython import const

_BOOTED = const(2)
_RESET = const(3)
_SOFT_RESET = const(5)


def _run(name, names):
    """Whether the file ended without an error; a missing one did. A SystemExit is a soft reset."""
    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, names)
        return True
    except SystemExit:
        raise
    except BaseException as e:
        sys.print_exception(e)
        return False


def start(names):
    """`names`: the globals of the REPL. The modules of the start are forgotten: what runs has the heap to itself."""
    global _boot
    raw = _boot.hello()
    _boot.mount()
    del sys.modules["_boot"], sys.modules["_start"], names["_start"], _boot
    gc.collect()
    try:
        if _run("boot.py", names) and not raw:
            _run("main.py", names)
    except SystemExit:
        _hub.call(_RESET, _SOFT_RESET)
    _hub.call(_BOOTED)
