"""`network` as on an ESP32, over the one network that the board host switches on and off."""

import _hub
from micropython import const

STA_IF = const(0)
AP_IF = const(1)
STAT_IDLE = const(1000)
STAT_CONNECTING = const(1001)
STAT_GOT_IP = const(1010)
PHY_LAN8720 = const(2)
MODE_11B = const(1)

_settings = {}


def hostname(name=None):
    if name is None:
        return _settings.get("hostname", "mpy-virtual")
    _settings["hostname"] = name


class _Interface:
    _active = False
    _wanted = False

    def active(self, up=None):
        if up is None:
            return self._active
        type(self)._active = bool(up)
        if not up:
            type(self)._wanted = False
        return self._active

    def isconnected(self):
        return self._active and self._wanted and _hub.call(_hub.LINK) == 1

    def status(self, what=None):
        if what == "rssi":
            return -60
        if self.isconnected():
            return STAT_GOT_IP
        return STAT_CONNECTING if self._wanted else STAT_IDLE

    def ifconfig(self, config=None):
        ip = "192.168.4.2" if self.isconnected() else "0.0.0.0"
        return (ip, "255.255.255.0", "192.168.4.1", "192.168.4.1")

    def config(self, *names, **values):
        if not names:
            _settings.update(values)
            return None
        if names[0] == "mac":
            return _settings["mac"]
        return _settings.get(names[0])


class WLAN(_Interface):
    IF_STA = const(0)
    IF_AP = const(1)
    PM_NONE = const(0)
    PM_PERFORMANCE = const(1)

    def __init__(self, interface=0):
        pass

    def connect(self, ssid=None, key=None, **_):
        if not self._active:
            raise OSError("Wifi Internal Error")
        _settings["ssid"] = ssid
        WLAN._wanted = True

    def disconnect(self):
        WLAN._wanted = False

    def scan(self):
        return [(_settings.get("ssid", "virtual").encode(), b"\x02virt1", 6, -60, 3, False)]


class LAN(_Interface):
    _wanted = True

    def __init__(self, id=0, **_):
        pass
