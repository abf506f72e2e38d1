"""NVS of the virtual board: ESP-IDF's own images are read and reproduced, and no power cut loses a value."""

from __future__ import annotations

import base64
import io
import zlib

import pytest
from tryggport.board.nor import Nor, PowerCut
from tryggport.board.nvs import PAGE, Nvs

# What esp-idf-nvs-partition-gen 0.3.0 makes of a CSV with the values of `fill`, 0x6000 bytes.
ESP_IDF = """
eNrt2GlUTGEcx/HnTtmXaTSWkCWEVCQydiqEZE2WKJNZMJqahkyWLKmJ7EtlK0KMnSwVKWRN2fdsRbbKvmTM08zROc2Zkbde+H3OmVfPvXee7z
n33HP+j5pSSrQ01FiYXUqy6u9KCMNQC/c8X7lMIRKRckzZMxguQ3PyeaGCAKmfWG893fL3PzLOLGLP5iXxJVK+3jIxI5Q6ZLhEE46Vo6unMFgZ
q0rNyi0y2iPjxtDAbCkxvl+7B6J7voKExHMyJVJ//e0RwqY0yCO8mFSpXbdxCxsHXu/+Q0aN508JCJ63OGrNhq27Dhw7de7KjftPC4q+qE2qcx
o0tbbr1N154DCviQJJUMgC5Yr1m7fvOZycfiH79qO8Nx++08q1uI2s2nbo0quf+8hxk8TSmXPDlq6OjU/cf/Tk2cvX7z15Wfj5J6uaWf0mrWwd
u/V1Gzp6wuRpMsX8iOXrNiWoDp04ff7qrYfPX7//pqlU07xh8zbtnXq6Dh4x1lfkP2POoiWrYuJ27ktKPXPp2t3HL959KmGqsutZtmzXsWufAR
6e3n5TA2eFhi9bu3Hb7oPH0zKzbj549qr46y/TGnUsmrW279zDZdDwMT7C6fLZCyNXRm/ZsfdISsbFnDu5+W8//kA/+tGPfvSjH/3oRz/60Y9+
9P8f/bopnKlg/k9wi+OVj/p/ukI3X1sziUJbH8P5WmlKqbeGFOD9Qj/60f+v+2kFdOeHaWovJ6PvlzkhLEKp7nyzMCJSJJWLBTK9dVbZ/SwuQ1
UxJlGG55s22h8FAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMFAKePf6xA==
"""
LONG = bytes(i * 7 & 255 for i in range(5000))
SIZE = 0x6000


def fill(nvs: Nvs) -> None:
    nvs.set_i32("trygg", "epoch", -123456)
    nvs.set_blob("trygg", "blob", bytes.fromhex("00112233445566778899aabbccddeeff"))
    nvs.set_blob("trygg", "long", LONG)
    nvs.set_i32("other", "epoch", 42)


def esp_idf_image() -> bytes:
    return zlib.decompress(base64.b64decode(ESP_IDF))


def test_an_image_of_esp_idf_is_read_and_changed() -> None:
    nor = Nor(SIZE)
    nor.program(0, esp_idf_image())
    nvs = Nvs(nor, 0, SIZE)
    assert (nvs.get_i32("trygg", "epoch"), nvs.get_i32("other", "epoch")) == (-123456, 42)
    assert nvs.get_blob("trygg", "long") == LONG
    nvs.set_i32("trygg", "epoch", 7)
    nvs.set_blob("trygg", "long", b"short")
    nvs.erase_key("trygg", "blob")
    again = Nvs(nor, 0, SIZE)
    assert (again.get_i32("trygg", "epoch"), again.get_i32("other", "epoch")) == (7, 42)
    assert again.get_blob("trygg", "long") == b"short"
    with pytest.raises(OSError, match="not found") as missing:
        again.get_blob("trygg", "blob")
    assert missing.value.errno == -4354


def test_the_same_values_make_the_same_bytes_as_esp_idf() -> None:
    nor = Nor(SIZE)
    fill(Nvs(nor, 0, SIZE))
    assert nor.snapshot() == esp_idf_image()


def test_pages_are_reclaimed_and_a_full_store_says_so() -> None:
    nor = Nor(3 * PAGE)
    nvs = Nvs(nor, 0, 3 * PAGE)
    nvs.set_blob("a", "kept", LONG[:900])
    for n in range(2000):
        nvs.set_i32("a", "counter", n)
    assert nvs.get_i32("a", "counter") == 1999
    assert Nvs(nor, 0, 3 * PAGE).get_blob("a", "kept") == LONG[:900]
    assert 2000 / 126 - 3 <= nor.erases <= 60
    with pytest.raises(OSError, match="no space"):  # noqa: PT012
        for n in range(20):
            nvs.set_blob("a", f"big{n}", LONG[:1000])
    again = Nvs(nor, 0, 3 * PAGE)
    assert (again.get_i32("a", "counter"), again.get_blob("a", "kept")) == (1999, LONG[:900])


@pytest.mark.parametrize("name", ["", "sixteen_letters_"])
def test_names_have_one_to_fifteen_bytes(name: str) -> None:
    with pytest.raises(OSError, match="key too long"):
        Nvs(Nor(SIZE), 0, SIZE).set_i32("a", name, 1)


def scenario(nvs: Nvs, done: list[int]) -> None:
    """Forty rounds over two values; `done[0]` tells which round's set has returned last."""
    for n in range(40):
        nvs.set_i32("a", "number", n)
        done[0] = n
        nvs.set_blob("a", "blob", bytes([n]) * (40 + 37 * (n % 5)))
        done[1] = n


def check(nor: Nor, done: list[int]) -> None:
    """Each value is the last that was set, or the one under way; and the store goes on."""
    nor.power_on()
    nvs = Nvs(nor, 0, 3 * PAGE)
    assert nvs.get_i32("a", "always") == 77
    assert nvs.get_i32("a", "number") in (done[0], done[0] + 1)
    blob = nvs.get_blob("a", "blob")
    assert blob in [bytes([n]) * (40 + 37 * (n % 5)) for n in (done[1], done[1] + 1)]
    nvs.set_i32("a", "number", 1000)
    nvs.set_blob("a", "blob", b"after")
    again = Nvs(nor, 0, 3 * PAGE)
    assert (again.get_i32("a", "number"), again.get_blob("a", "blob")) == (1000, b"after")


def prepared() -> Nor:
    nor = Nor(3 * PAGE)
    nvs = Nvs(nor, 0, 3 * PAGE)
    nvs.set_i32("a", "always", 77)
    nvs.set_i32("a", "number", 0)
    nvs.set_blob("a", "blob", bytes(40))
    for n in range(100):
        nvs.set_i32("a", "wear", n)
    return nor


@pytest.mark.parametrize("noise", [0, 5])
def test_no_power_cut_loses_a_value(noise: int) -> None:
    whole = prepared()
    before = whole.snapshot()
    start = whole.programs + whole.erases
    scenario(Nvs(whole, 0, 3 * PAGE), [0, 0])
    operations = whole.programs + whole.erases - start
    cuts = 0
    for operation in range(operations):
        for byte in (0, 1, 3, 33, 2000):
            nor = Nor(3 * PAGE, file=io.BytesIO(before))
            nor.plan_cut(operation, byte, noise=noise)
            done = [0, 0]
            with pytest.raises(PowerCut):
                scenario(Nvs(nor, 0, 3 * PAGE), done)
            check(nor, done)
            cuts += 1
    assert cuts == 5 * operations > 1500


def test_a_cut_during_recovery_is_recovered() -> None:
    before = prepared().snapshot()
    struck = 0
    for operation in range(0, 300, 7):
        for second in range(6):
            nor = Nor(3 * PAGE, file=io.BytesIO(before))
            nor.plan_cut(operation, 1, noise=3)
            done = [0, 0]
            with pytest.raises(PowerCut):
                scenario(Nvs(nor, 0, 3 * PAGE), done)
            nor.power_on()
            nor.plan_cut(second, 2, noise=4)
            try:
                Nvs(nor, 0, 3 * PAGE)
            except PowerCut:
                struck += 1
            check(nor, done)
    assert struck > 40
