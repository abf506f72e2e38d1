"""Time as the story tells it; takes the place of MicroPython's built-in module.

Nothing waits: whoever sleeps moves `now_us`. The run holds the process's own clock still (libfaketime), which the C half of
asyncio reads when it schedules a task at once; `_START_MS` lies above it, so such a task is due now, and a seed tells the same
story twice."""

import sys

_START_MS = 1 << 42
_path, sys.path[:] = sys.path[:], []
_mine = sys.modules.pop("time")
import time as _built_in  # noqa: E402

sys.modules["time"] = _mine
sys.path[:] = _path
gmtime = _built_in.gmtime
mktime = _built_in.mktime

now_us = 0  # since the story began
rtc_ahead_ms = 0  # what the gateway's clock shows at now_us 0, in ms since 1970


def ticks_us():
    return _START_MS * 1000 + now_us


ticks_cpu = ticks_us


def ticks_ms():
    return _START_MS + now_us // 1000


def ticks_add(ticks, delta):
    return ticks + delta


def ticks_diff(end, start):
    return end - start


def sleep_us(us):
    global now_us
    now_us += us


def sleep_ms(ms):
    sleep_us(ms * 1000)


def sleep(s):
    sleep_us(int(s * 1_000_000))


def time():
    """Whole seconds, as on a board."""
    return (rtc_ahead_ms + now_us // 1000) // 1000


def set_rtc(fields):
    """machine.RTC().datetime: (year, month, day, weekday, hours, minutes, seconds, subseconds)."""
    global rtc_ahead_ms
    year, month, day, _, hours, minutes, seconds, _ = fields
    utc_s = mktime((year, month, day, hours, minutes, seconds, 0, 0))
    rtc_ahead_ms = utc_s * 1000 - now_us // 1000


# asyncio has taken the ticks above: its C half reads the process's own. What is loaded from now on has those of a board, which
# come round every 2**30 ms, for the first time after a day and a half.
from asyncio import core  # noqa: E402, F401

_PERIOD_MS = 1 << 30
_FIRST_MS = _PERIOD_MS - 36 * 3600_000


def ticks_ms():  # noqa: F811
    return (_FIRST_MS + now_us // 1000) % _PERIOD_MS


def ticks_add(ticks, delta):  # noqa: F811
    return (ticks + delta) % _PERIOD_MS


def ticks_diff(end, start):  # noqa: F811
    return (end - start + _PERIOD_MS // 2) % _PERIOD_MS - _PERIOD_MS // 2
