"""Lets the firmware name the step it is at; the board host stamps the time and can cut the power just there."""

import _hub
from micropython import const

_STEP = const(4)


def step(name, seq=0):
    """Report the step, and the event it is about. Returns when the host has noted it, or never, when the power was to be cut here."""
    _hub.call(_STEP, 0, seq, 0, name)
