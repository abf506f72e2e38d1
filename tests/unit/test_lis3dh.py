from array import array

from gateway.drivers.lis3dh import DEPTH, LIS3DH


class Chip:
    """The registers and the FIFO of a LIS3DH, as an I2C bus with that one device (AN3308, stream mode)."""

    def __init__(self, address=0x19, who_am_i=0x33):
        self.address = address
        self.registers = bytearray(0x40)
        self.registers[0x0F] = who_am_i
        self.fifo = []

    def sample(self, x_mg, y_mg, z_mg):
        if len(self.fifo) == DEPTH:
            self.fifo.pop(0)
        self.fifo.append((x_mg << 2, y_mg << 2, z_mg << 2))

    def writeto_mem(self, address, register, data):
        if register == 0x2E and data[0] >> 6 == 0:
            self.fifo.clear()
        self.registers[register] = data[0]

    def readfrom_mem_into(self, address, register, buffer):
        if address != self.address:
            raise OSError(19)
        if register == 0x2F:
            n = len(self.fifo)
            buffer[0] = min(n, 31) | (0x40 if n == DEPTH else 0) | (0x20 if n == 0 else 0)
        elif register == 0xA8:
            assert self.registers[0x24] & 0x40, "the FIFO is off"
            assert self.registers[0x2E] >> 6 == 2, "the FIFO is not in stream mode"
            for i in range(0, len(buffer), 3):
                buffer[i], buffer[i + 1], buffer[i + 2] = self.fifo.pop(0)
        else:
            buffer[0] = self.registers[register]
            if register == 0x31:
                self.registers[register] = 0  # latched until it is read


def failure(bus):
    try:
        LIS3DH(bus)
    except OSError as e:
        return str(e)
    return None


def test_a_missing_or_foreign_chip_is_named():
    assert failure(Chip()) is None
    assert failure(Chip(address=0x18)) == "nothing answers at I2C address 0x19: check the wiring of the LIS3DH"
    assert "WHO_AM_I is 0x44, not 0x33" in failure(Chip(who_am_i=0x44))


def test_samples_come_oldest_first_in_mg_and_what_does_not_fit_waits():
    chip = Chip()
    chip.sample(7, 7, 7)
    sensor = LIS3DH(chip)  # empties what a restart left behind
    for i in range(10):
        chip.sample(-8 * 4 * i, 4 * i, 1000)
    samples = array("h", bytes(6 * 6))
    assert sensor.read_into(samples) == 6
    assert list(samples[:6]) == [0, 0, 1000, -32, 4, 1000]
    assert sensor.read_into(memoryview(samples)) == 4
    assert list(samples[9:12]) == [-288, 36, 1000]
    assert sensor.read_into(samples) == 0
    assert not sensor.overrun


def test_TP_FAL_010_a_full_fifo_is_reported():
    chip = Chip()
    sensor = LIS3DH(chip)
    samples = array("h", bytes(6 * DEPTH))
    for i in range(DEPTH - 1):
        chip.sample(4 * i, 0, 0)
    assert sensor.read_into(samples) == DEPTH - 1
    assert not sensor.overrun
    for i in range(DEPTH + 5):
        chip.sample(4 * i, 0, 0)
    assert sensor.read_into(samples) == DEPTH
    assert sensor.overrun
    assert samples[0] == 20
    assert samples[-3] == 4 * (DEPTH + 4)
    assert sensor.read_into(samples) == 0
    assert not sensor.overrun


def test_TP_FAL_012_movement_and_a_filling_fifo_raise_int1_until_asked():
    chip = Chip()
    sensor = LIS3DH(chip)
    assert chip.registers[0x22] == 0x44  # I1_IA1, I1_WTM
    assert chip.registers[0x24] & 0x08  # latched
    assert chip.registers[0x21] == 0x01  # high-pass filter for the interrupt, none for the samples
    assert chip.registers[0x30] == 0x2A
    assert chip.registers[0x32] == 2  # 124 mg at +-8 g
    assert chip.registers[0x2E] == 0x80 | 20
    assert not sensor.moved()
    chip.registers[0x31] = 0x48
    assert sensor.moved()
    assert not sensor.moved()
