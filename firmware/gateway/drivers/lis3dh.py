"""ST LIS3DH accelerometer on I2C (datasheet DocID17530 rev 2, application note AN3308), read by its FIFO."""

from micropython import const

_WHO_AM_I = const(0x0F)
_CTRL_REG1 = const(0x20)
_CTRL_REG2 = const(0x21)
_CTRL_REG3 = const(0x22)
_CTRL_REG4 = const(0x23)
_CTRL_REG5 = const(0x24)
_OUT_X_L = const(0x28)
_FIFO_CTRL_REG = const(0x2E)
_FIFO_SRC_REG = const(0x2F)
_INT1_CFG = const(0x30)
_INT1_SRC = const(0x31)
_INT1_THS = const(0x32)
_AUTO_INCREMENT = const(0x80)

_LIS3DH = const(0x33)
_STREAM = const(0x80)
_OVERRUN = const(0x40)
_LEVEL = const(0x1F)
_ACTIVE = const(0x40)
_WAKE = const(2)  # steps of 62 mg at +-8 g, high-pass filtered: less than any fall begins with, more than noise

RATE_HZ = const(50)
DEPTH = const(32)  # samples that the FIFO holds: 640 ms


class LIS3DH:
    """50 Hz, +-8 g, high resolution, of which the FIFO keeps 10 bits (16 mg a step); axes as the chip has them.

    INT1 rises when more than `watermark` samples wait, and when the chip moves: from then on until `moved()` is asked. Who
    sleeps till then still finds the movement's first sample in the FIFO. Raises OSError when there is no LIS3DH at `address`.
    """

    def __init__(self, i2c, address=0x19, watermark=20):
        self._i2c = i2c
        self._address = address
        self._byte = bytearray(1)
        self.overrun = False
        try:
            chip = self._read(_WHO_AM_I)
        except OSError:
            raise OSError("nothing answers at I2C address 0x%02x: check the wiring of the LIS3DH" % address)
        if chip != _LIS3DH:
            raise OSError("the chip at I2C address 0x%02x is no LIS3DH: WHO_AM_I is 0x%02x, not 0x33" % (address, chip))
        self._write(_CTRL_REG1, 0x47)  # 50 Hz, all axes
        self._write(_CTRL_REG2, 0x01)  # the high-pass filter feeds the interrupt only; samples stay unfiltered
        self._write(_CTRL_REG4, 0xA8)  # whole samples only (BDU), +-8 g, high resolution
        self._write(_INT1_THS, _WAKE)
        self._write(_INT1_CFG, 0x2A)  # any of the three axes above
        self._write(_CTRL_REG3, 0x44)  # motion and watermark on INT1
        self._write(_CTRL_REG5, 0x48)  # FIFO on; motion stays told until it is asked for
        self._write(_FIFO_CTRL_REG, 0)  # bypass empties what a restart left behind
        self._write(_FIFO_CTRL_REG, _STREAM | watermark)

    def moved(self):
        """Whether any axis has moved by more than 124 mg since this was last asked."""
        return bool(self._read(_INT1_SRC) & _ACTIVE)

    def read_into(self, samples_mg):
        """Move the waiting samples, oldest first, into an array('h') or memoryview of int16 triplets; return how many.

        What does not fit waits for the next call. `overrun` is then True when the FIFO was full, so that samples older
        than these may be lost: the caller, who has the clock, tells the detector how long the gap was.
        """
        source = self._read(_FIFO_SRC_REG)
        self.overrun = bool(source & _OVERRUN)
        n = min(DEPTH if self.overrun else source & _LEVEL, len(samples_mg) // 3)
        if n:
            raw = memoryview(samples_mg)[: 3 * n]
            self._i2c.readfrom_mem_into(self._address, _OUT_X_L | _AUTO_INCREMENT, raw)
            for i in range(3 * n):
                raw[i] >>= 2  # left-justified; 4 mg in the lowest of the 12 bits of high resolution
        return n

    def _read(self, register):
        self._i2c.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register, value):
        self._byte[0] = value
        self._i2c.writeto_mem(self._address, register, self._byte)
