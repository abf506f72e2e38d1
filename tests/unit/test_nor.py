"""The NOR model does to the bytes what the chip and its faults do."""

from nor import BlockDevice, Misuse, Nor, PowerCut


def reading(nor, addr, length):
    buf = bytearray(length)
    nor.read_into(addr, buf)
    return bytes(buf)


def raises(error, call, *args):
    try:
        call(*args)
    except error:
        return True
    return False


def test_a_program_only_clears_bits():
    nor = Nor(8192)
    nor.program(16, b"\xf0\x0f")
    nor.program(16, b"\x3c\xff")
    assert reading(nor, 15, 4) == b"\xff\x30\x0f\xff"
    assert (nor.programs, nor.programmed_bytes, nor.erases) == (2, 4, 0)


def test_an_erase_sets_one_block_and_is_charged():
    nor = Nor(3 * 4096)
    for addr in (0, 4096, 8192):
        nor.program(addr, bytes(256))
    nor.erase(4096)
    assert [reading(nor, addr, 1) for addr in (0, 4096, 8192)] == [b"\0", b"\xff", b"\0"]
    assert nor.busy_us == 3 * 700 + 45_000
    assert list(nor.wear) == [0, 1, 0]
    assert raises(ValueError, nor.erase, 100)


def test_time_goes_to_the_hook():
    slept = []
    nor = Nor(4096, sleep_ms=slept.append)
    for _ in range(10):
        nor.program(0, bytes(256))
    nor.erase(0)
    assert sum(slept) == 52


def test_encrypted_flash_round_trips_and_erased_bytes_read_as_anything():
    nor = Nor(8192, key=bytes(i * 7 & 0xFF for i in range(251)))
    assert reading(nor, 0, 64) != b"\xff" * 64
    for addr in (0, 48, 4080):
        nor.program(addr, b"sixteen bytes ok")
        assert reading(nor, addr, 16) == b"sixteen bytes ok"
    before = reading(nor, 4096, 4096)
    nor.erase(4096)
    assert reading(nor, 4096, 4096) == before


def test_strict_mode_refuses_what_encryption_does_not_survive():
    nor = Nor(8192, strict=True)
    nor.program(32, bytes(32))
    assert raises(Misuse, nor.program, 8, bytes(16))
    assert raises(Misuse, nor.program, 64, bytes(8))
    assert raises(Misuse, nor.program, 48, bytes(16))
    nor.erase(0)
    nor.program(48, bytes(16))


def test_a_cut_tears_a_program_at_the_byte():
    for byte in range(17):
        nor = Nor(4096)
        nor.plan_cut(1, byte)
        nor.program(0, bytes(16))
        assert nor.cut_pending
        assert raises(PowerCut, nor.program, 16, bytes(16))
        assert raises(PowerCut, reading, nor, 0, 1), "the chip is off"
        nor.power_on()
        torn = reading(nor, 16, 16)
        assert torn[:byte] == bytes(byte)
        if byte < 16:
            assert torn[byte] in (0x55, 0xAA)
            assert torn[byte + 1 :] == b"\xff" * (15 - byte)


def test_noise_tears_behind_the_byte_and_only_clears():
    nor = Nor(4096)
    nor.program(8, b"\x00")
    nor.plan_cut(0, 4, "program", noise=7)
    assert raises(PowerCut, nor.program, 0, b"\xf0" * 64)
    nor.power_on()
    torn = reading(nor, 0, 64)
    assert torn[:4] == b"\xf0" * 4
    assert torn[8] == 0
    behind = torn[9:]
    assert any(b != 0xF0 for b in behind)
    assert any(b != 0xFF for b in behind)
    assert all(b & 0xF0 == 0xF0 for b in behind)


def test_weak_bits_read_either_way_until_erased():
    nor = Nor(4096)
    nor.plan_cut(0, 3, weak=True)
    assert raises(PowerCut, nor.program, 0, bytes(16))
    nor.power_on()
    assert len({reading(nor, 3, 1) for _ in range(50)}) > 2
    nor.erase(0)
    assert reading(nor, 3, 1) == b"\xff"


def test_a_cut_erase_leaves_a_half():
    for noise in (0, 3):
        nor = Nor(8192)
        nor.program(0, bytes(4096))
        nor.plan_cut(0, 1000, "erase", noise=noise)
        nor.program(4096, bytes(16))
        assert raises(PowerCut, nor.erase, 0)
        nor.power_on()
        half = reading(nor, 0, 4096)
        assert half[:1000] == b"\xff" * 1000
        assert (half[1001:] == bytes(3095)) == (noise == 0)


def test_flips_stay_until_the_erase():
    nor = Nor(4096)
    nor.flip(5, 2)
    assert reading(nor, 5, 1) == b"\xfb"
    nor.erase(0)
    assert reading(nor, 5, 1) == b"\xff"


def test_a_dead_block_keeps_what_it_holds():
    nor = Nor(8192)
    nor.program(0, b"old!")
    nor.kill_block(0)
    nor.erase(0)
    nor.program(4, bytes(4))
    assert reading(nor, 0, 8) == b"old!\xff\xff\xff\xff"
    nor.kill_block(1, "error")
    assert raises(OSError, nor.erase, 4096)
    assert raises(OSError, nor.program, 4096, bytes(4))


def test_a_file_holds_the_bytes():
    import os

    name = "build/nor-test.bin" if "build" in os.listdir() else "nor-test.bin"
    with open(name, "w+b") as file:
        nor = Nor(8192, file=file)
        nor.program(4096, b"kept")
    with open(name, "r+b") as file:
        nor = Nor(8192, file=file)
        assert reading(nor, 4095, 6) == b"\xffkept\xff"
        assert nor.snapshot()[4096:4100] == b"kept"
    os.remove(name)


def test_the_block_device_speaks_the_extended_protocol():
    nor = Nor(4 * 4096)
    device = BlockDevice(nor, first=1, count=2)
    assert (device.ioctl(4, 0), device.ioctl(5, 0)) == (2, 4096)
    device.writeblocks(0, b"\x0f" * 16, 32)
    device.writeblocks(0, b"\xf3" * 16, 32)
    buf = bytearray(3)
    device.readblocks(0, buf, 31)
    assert buf == b"\xff\x03\x03"
    device.writeblocks(1, bytes(4096))
    assert nor.erases == 1
    assert reading(nor, 2 * 4096, 2) == b"\0\0"
    assert device.ioctl(6, 0) == 0
    assert reading(nor, 4096 + 32, 2) == b"\xff\xff"
    assert raises(ValueError, device.readblocks, 2, buf)


def test_littlefs_lives_on_it():
    import vfs

    device = BlockDevice(Nor(32 * 4096))
    vfs.VfsLfs2.mkfs(device)
    files = vfs.VfsLfs2(device)
    with files.open("a.txt", "w") as file:
        file.write("hello")
    with files.open("a.txt", "r") as file:
        assert file.read() == "hello"
    assert device.nor.erases > 0
