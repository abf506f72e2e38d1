"""The built-in `time`, with sleeps that let interrupts run and a calendar that follows the RTC. Epoch: 1970, as the unix port's."""

import _hub
import utime
from utime import ticks_add, ticks_diff, ticks_ms, ticks_us  # noqa: F401


def __getattr__(name):
    return getattr(utime, name)


def time():
    return int(utime.time() + _hub.rtc_offset_ms / 1000)


def time_ns():
    return utime.time_ns() + _hub.rtc_offset_ms * 1000000


def gmtime(s=None):
    return utime.gmtime(time() if s is None else s)[:8]


localtime = gmtime


def sleep_ms(ms):
    end = ticks_add(ticks_ms(), ms)
    _hub.pump()
    while True:
        left = ticks_diff(end, ticks_ms())
        if left <= 0:
            return
        _hub.wait(left)


def sleep(s):
    sleep_ms(int(s * 1000))


def sleep_us(us):
    if us >= 10000:
        sleep_ms(us // 1000)
        us %= 1000
    utime.sleep_us(us)
