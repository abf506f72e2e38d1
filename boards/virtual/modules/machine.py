"""`machine` as on an ESP32: every call goes to the hardware in the board host."""

import struct
import time

import _hub
import umachine
from _hub import call
from micropython import const

_RESET = const(3)
_PIN_MODE = const(5)
_PIN_GET = const(6)
_PIN_SET = const(7)
_PIN_IRQ = const(8)
_PWM = const(9)
_I2C_SCAN = const(10)
_I2C_WRITE = const(11)
_I2C_READ = const(12)
_WDT = const(13)
_RTC_SET = const(14)

PWRON_RESET = const(1)
HARD_RESET = const(2)
WDT_RESET = const(3)
DEEPSLEEP_RESET = const(4)
SOFT_RESET = const(5)

_reset_cause = 0
_unique_id = b""


def __getattr__(name):
    return getattr(umachine, name)


def reset_cause():
    return _reset_cause


def unique_id():
    return _unique_id


def reset():
    call(_RESET)


class Pin:
    IN = const(1)
    OUT = const(3)
    PULL_UP = const(2)
    IRQ_RISING = const(1)
    IRQ_FALLING = const(2)

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        """A mode or pull of -1 leaves it as it is, None switches the pull off."""
        self._id = id
        if value is not None:
            call(_PIN_SET, self._id, value)
        if mode != -1 or pull != -1:
            call(_PIN_MODE, self._id, 0 if mode == -1 else mode, 255 if pull == -1 else pull or 0)

    def value(self, x=None):
        if x is None:
            return call(_PIN_GET, self._id)
        call(_PIN_SET, self._id, 1 if x else 0)

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=None, trigger=3):
        """`handler(pin)` runs while the program sleeps, polls or speaks with hardware."""
        if handler is None:
            _hub.handlers.pop(self._id, None)
            trigger = 0
        else:
            _hub.handlers[self._id] = lambda _: handler(self)
        call(_PIN_IRQ, self._id, trigger)


class PWM:
    def __init__(self, dest, freq=5000, duty_u16=32768):
        self._id = dest._id
        self._freq = freq
        self._duty = duty_u16
        self._set()

    def _set(self):
        call(_PWM, self._id, self._freq, self._duty)

    def freq(self, freq=None):
        if freq is None:
            return self._freq
        self._freq = freq
        self._set()

    def duty_u16(self, duty=None):
        if duty is None:
            return self._duty
        self._duty = duty
        self._set()


def _bytes(buf):
    """How many it holds; an array of 16-bit numbers holds two an item."""
    return len(buf) if isinstance(buf, bytearray) else len(bytes(buf))


class I2C:
    def __init__(self, id=0, *, scl, sda, freq=400000):
        self._pins = scl._id | sda._id << 8

    def scan(self):
        return list(call(_I2C_SCAN, 0, self._pins))

    def readfrom_mem_into(self, addr, memaddr, buf):
        call(_I2C_READ, addr, self._pins | _bytes(buf) << 16, memaddr | 0x100, None, buf)

    def readfrom_mem(self, addr, memaddr, nbytes):
        buf = bytearray(nbytes)
        self.readfrom_mem_into(addr, memaddr, buf)
        return bytes(buf)

    def writeto_mem(self, addr, memaddr, buf):
        call(_I2C_WRITE, addr, self._pins, memaddr | 0x100, buf)


class WDT:
    def __init__(self, id=0, timeout=5000):
        call(_WDT, 0, timeout)

    def feed(self):
        call(_WDT)


class RTC:
    def datetime(self, to=None):
        """(year, month, day, weekday, hour, minute, second, microsecond), in UTC."""
        if to is None:
            us = time.time_ns() // 1000
            t = time.gmtime(us // 1000000)
            return t[:3] + (t[6],) + t[3:6] + (us % 1000000,)
        seconds = time.mktime((to[0], to[1], to[2], to[4], to[5], to[6], 0, 0))
        _hub.rtc_offset_ms = struct.unpack("<q", call(_RTC_SET, 0, int(seconds), to[7]))[0]
