"""`network` as on an ESP32, over the one network that the board host switches on and off."""

import _hub
from micropython import const

_LINK = const(22)

STA_IF = const(0)
STAT_IDLE = const(1000)
STAT_CONNECTING = const(1001)
STAT_GOT_IP = const(1010)


class WLAN:
    _active = _wanted = False

    def __init__(self, interface=STA_IF, **_):
        pass

    def active(self, up=None):
        if up is not None:
            type(self)._active = bool(up)
        return self._active

    def connect(self, ssid=None, key=None, **_):
        if not self._active:
            raise OSError("Wifi Internal Error")
        WLAN._wanted = True

    def disconnect(self):
        WLAN._wanted = False

    def isconnected(self):
        return self._active and self._wanted and _hub.call(_LINK) == 1

    def status(self):
        if self.isconnected():
            return STAT_GOT_IP
        return STAT_CONNECTING if self._wanted else STAT_IDLE

    def ifconfig(self):
        ip = "192.168.4.2" if self.isconnected() else "0.0.0.0"
        return (ip, "255.255.255.0", "192.168.4.1", "192.168.4.1")


class LAN(WLAN):
    _wanted = True
