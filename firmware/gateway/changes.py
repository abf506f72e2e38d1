"""Configurations and trust lists that arrive: newer ones are put in force, on trial (protocols/commands.md).

Loaded for each, forgotten afterwards. What is in them is judged at the start that follows, as that of any settings: what cannot
be read gives way to the last good ones.
"""

import os

from micropython import const

from gateway import cbor, cose, trial
from gateway.trace import step

_CONFIGURATION = const(1)
_DONE = const(0)
_ROLLBACK = const(8)
_BUSY = const(9)
_FILES = ("root.pub", "trust.cbor", "config.cbor", "tls.der", "ca.der")


async def take(app, kind, content, envelope):
    """Puts a newer configuration or trust list in force, on trial. Returns the restart, or None when it is not taken."""
    from gateway import results

    if kind == _CONFIGURATION and content[1] != app.config.gateway:
        raise ValueError("a configuration of another gateway")
    version = content[2] if kind == _CONFIGURATION else content[1]
    if type(version) is not int or version < 0:
        raise ValueError("malformed")
    present = app.config.version if kind == _CONFIGURATION else cbor.decode(cose.parse(_read("trust.cbor"))[2])[1]
    if app.trial:
        if trial.mark(app.store)[2:] != (kind, version):
            results.answer(app, kind, version, _BUSY)
    elif version <= present:
        results.answer(app, kind, version, _DONE if version == present else _ROLLBACK)
    else:
        _stage("config.cbor" if kind == _CONFIGURATION else "trust.cbor", envelope)
        trial.begin(app.store, kind, version)
        return _reset
    return None


def _stage(name, envelope):
    """Writes what is in force to STAGED, with one file changed."""
    trial.remove(trial.STAGED)
    os.mkdir(trial.STAGED)
    for other in _FILES:
        with open(trial.STAGED + "/" + other, "wb") as f:
            f.write(envelope if other == name else _read(other))
    step("trial.staged")


def _read(name):
    with open(trial.FOLDER + "/" + name, "rb") as f:
        return f.read()


def _reset():
    import machine

    machine.reset()
