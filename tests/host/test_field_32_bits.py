"""gateway/field.py on a modelled 32-bit machine, and where it cannot run at all.

The native emitter here makes 64-bit code, where a sum beyond 32 bits would go unnoticed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GATEWAY = ROOT / "firmware" / "gateway"
BIN = Path(sys.executable).parent
MICROPYTHON = os.environ.get("MICROPYTHON", str(BIN / "micropython"))
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
R = 2**260
SIZE = 80
PROGRAM_AT = 20 * SIZE
LARGEST = [8191] * 19 + [1100]  # no element has larger limbs: 2.1 p < 1100 * 2**247


class Machine:
    """Memory with viper's pointers; a 32-bit store of a number that is negative or has 32 bits or more is an error."""

    def __init__(self) -> None:
        self.memory = bytearray(PROGRAM_AT + 64)
        self.highest = 0
        machine = self

        class Pointer:
            width = 4

            def __init__(self, address: Any) -> None:
                self.address = int(address)

            def __int__(self) -> int:
                return self.address

            def at(self, index: int) -> slice:
                start = self.address + self.width * index
                return slice(start, start + self.width)

            def __getitem__(self, index: int) -> int:
                return int.from_bytes(machine.memory[self.at(index)], "little")

            def __setitem__(self, index: int, value: int) -> None:
                machine.highest = max(machine.highest, value)
                assert 0 <= value < 2**31
                machine.memory[self.at(index)] = value.to_bytes(self.width, "little")

        class Pointer8(Pointer):
            width = 1

        names: dict[str, Any] = {"ptr32": Pointer, "ptr8": Pointer8}
        viper = SimpleNamespace(viper=lambda function: function)
        source = (GATEWAY / "field.py").read_text().replace("import micropython\n", "")
        exec(compile(source, "field.py", "exec"), names | {"micropython": viper}, names)
        self.pointer = Pointer
        self.run = names["execute"]

    def execute(self, program: bytes) -> None:
        self.memory[PROGRAM_AT : PROGRAM_AT + len(program)] = program
        self.run(self.pointer(0), self.pointer(PROGRAM_AT))

    def set(self, register: int, limbs: list[int]) -> None:
        for i, limb in enumerate(limbs):
            self.pointer(register * SIZE)[i] = limb

    def limbs(self, register: int) -> list[int]:
        return [self.pointer(register * SIZE)[i] for i in range(20)]


def number(limbs: list[int]) -> int:
    return sum(limb << 13 * i for i, limb in enumerate(limbs))


def within_bounds(limbs: list[int]) -> bool:
    return max(limbs[:19]) < 8192 and number(limbs) < 2.1 * P


def operands() -> list[list[int]]:
    chance = random.Random(8)
    mixed = [[chance.choice((0, 1, 8190, 8191)) for _ in range(19)] + [chance.choice((0, 1023))] for _ in range(60)]
    values = [0, 1, P - 1, P, P + 1, 2 * P, R % P] + [chance.randrange(2 * P) for _ in range(60)]
    return [LARGEST, [0] * 20, *mixed, *([v >> 13 * i & 8191 for i in range(20)] for v in values)]


def test_TP_ECC_006_products_fit_32_bit_registers() -> None:
    machine = Machine()
    chance = random.Random(9)
    numbers = operands()
    pairs = [(a, a) for a in numbers] + [(chance.choice(numbers), chance.choice(numbers)) for _ in range(200)]
    for a, b in pairs:
        machine.set(2, a)
        machine.set(3, b)
        machine.execute(b"\x00\x04\x02\x03\xff")
        assert number(machine.limbs(4)) * R % P == number(a) * number(b) % P
        assert within_bounds(machine.limbs(4))
    assert 2**30 < machine.highest < 2**31


@pytest.mark.parametrize("x", [-7, -1, 0, 1, 3, 6])
def test_TP_ECC_006_sums_fit_32_bit_registers(x: int) -> None:
    machine = Machine()
    numbers = operands()
    for y in (-8, -7, -2, -1, 0, 1, 7):
        for a, b in [*zip(numbers, reversed(numbers), strict=True), (LARGEST, LARGEST)]:
            machine.set(2, a)
            machine.set(3, b)
            machine.execute(bytes((16 * (x + 8) + y + 8, 4, 2, 3, 255)))
            assert (number(machine.limbs(4)) - x * number(a) - y * number(b)) % P == 0
            assert within_bounds(machine.limbs(4))


@pytest.mark.parametrize("architecture", ["rv32imc", "xtensawin", "armv7m"])
def test_TP_ECC_006_code_for_another_machine_gives_way_to_the_plain_engine(architecture: str, tmp_path: Path) -> None:
    """mpy-cross also shows that the boards' emitters take the source."""
    package = tmp_path / "gateway"
    package.mkdir()
    for name in ("curve", "p256", "generator", "field_int"):
        shutil.copy(GATEWAY / f"{name}.py", package)
    (package / "__init__.py").touch()
    build = [BIN / "mpy-cross", f"-march={architecture}", "-o", package / "field.mpy", GATEWAY / "field.py"]
    subprocess.run(build, check=True)
    case = json.loads((ROOT / "protocols/vectors/p256.json").read_text())["sign"][0]
    script = (
        "from gateway import curve, p256\n"
        f"signature = p256.sign(bytes.fromhex('{case['secret']}'), bytes.fromhex('{case['digest']}'))\n"
        "print(curve.field.__name__, signature.hex())"
    )
    done = subprocess.run(
        [MICROPYTHON, "-X", "heapsize=192k", "-c", script],
        env=os.environ | {"MICROPYPATH": f"{tmp_path}:.frozen"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["gateway.field_int", case["signature"]], done.stdout + done.stderr
