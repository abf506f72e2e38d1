"""Small durable values in ESP-IDF NVS: keys, the journal's copy of epoch and high-water mark, the clock's floor."""

import struct

from micropython import const

_MAX = const(256)


class Store:
    """Named byte strings of at most 256 bytes. `nvs` is an esp32.NVS or something like it."""

    def __init__(self, nvs):
        self._nvs = nvs

    def get(self, name):
        buffer = bytearray(_MAX)
        try:
            return bytes(memoryview(buffer)[: self._nvs.get_blob(name, buffer)])
        except OSError:
            return None

    def put(self, name, value):
        """Durable when it returns."""
        self._nvs.set_blob(name, value)
        self._nvs.commit()

    def remove(self, name):
        try:
            self._nvs.erase_key(name)
            self._nvs.commit()
        except OSError:
            pass


class JournalMark:
    """The journal's second witness: (epoch, high-water mark) outside its own flash partition."""

    def __init__(self, store):
        self._store = store

    def get(self):
        value = self._store.get("journal")
        if value is None or len(value) != 12:
            return None
        return value[:8], struct.unpack_from("<I", value, 8)[0]

    def put(self, epoch, high_water):
        self._store.put("journal", epoch + struct.pack("<I", high_water))
