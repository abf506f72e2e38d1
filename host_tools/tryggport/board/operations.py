"""What each request of the firmware's modules does to the hardware: one function an operation."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from tryggport.board.hub import Later, Op, Request, Result
from tryggport.board.nvs import Nvs

if TYPE_CHECKING:
    from tryggport.board.host import BoardHost

_SOFT_RESET = 5
_WITH_REGISTER = 0x100
_UNREACHABLE = -202  # what lwIP's getaddrinfo reports


def _hello(board: BoardHost, request: Request) -> Result:
    return board.hello()


def _booted(board: BoardHost, request: Request) -> Result:
    board.boot_done()
    return 0


def _reset(board: BoardHost, request: Request) -> NoReturn:
    if request.arg == _SOFT_RESET:
        board.reset(_SOFT_RESET)
    else:
        board.reset()
    raise Later


def _step(board: BoardHost, request: Request) -> Result:
    board.step(request.data.decode("utf-8", "replace"), request.a)
    return 0


def _pin_mode(board: BoardHost, request: Request) -> Result:
    board.pins.mode(request.arg, request.a, request.b)
    return 0


def _pin_get(board: BoardHost, request: Request) -> Result:
    return board.pins.get(request.arg)


def _pin_set(board: BoardHost, request: Request) -> Result:
    board.pins.set(request.arg, request.a)
    return 0


def _pin_irq(board: BoardHost, request: Request) -> Result:
    board.pins.irq(request.arg, request.a)
    return 0


def _pwm(board: BoardHost, request: Request) -> Result:
    board.pins.pwm(request.arg, request.a, request.b)
    return 0


def _wired(board: BoardHost, pins: int) -> bool:
    i2c = board.definition.wiring["i2c"]
    return (pins & 0xFF, pins >> 8 & 0xFF) == (i2c["scl"], i2c["sda"])


def _i2c_scan(board: BoardHost, request: Request) -> Result:
    return bytes([board.definition.wiring["accelerometer"]["address"]]) if _wired(board, request.a) else b""


def _addressed(board: BoardHost, request: Request) -> None:
    """A device that does not answer is ENODEV, as on an ESP32."""
    if request.arg != board.definition.wiring["accelerometer"]["address"] or not _wired(board, request.a):
        raise OSError(errno.ENODEV, "no device")


def _i2c_write(board: BoardHost, request: Request) -> Result:
    _addressed(board, request)
    register = bytes([request.b & 0xFF]) if request.b & _WITH_REGISTER else b""
    if register or request.data:
        board.sensor.write(register + request.data)
        board.sensor_moved()
    return 0


def _i2c_read(board: BoardHost, request: Request) -> Result:
    _addressed(board, request)
    if request.b & _WITH_REGISTER:
        board.sensor.write(bytes([request.b & 0xFF]))
    data = board.sensor.read(request.a >> 16)
    board.sensor_moved()
    return data


def _wdt(board: BoardHost, request: Request) -> Result:
    board.watchdog(request.a)
    return 0


def _rtc_set(board: BoardHost, request: Request) -> Result:
    board.clock.set(request.a + request.b / 1e6)
    return struct.pack("<q", board.clock.offset_ms)


def _partitions(board: BoardHost, request: Request) -> Result:
    return board.flash.rows()


def _flash(function: Callable[[BoardHost, Request], Result]) -> Callable[[BoardHost, Request], Result]:
    def checked(board: BoardHost, request: Request) -> Result:
        try:
            return function(board, request)
        except ValueError as e:
            raise OSError(errno.EINVAL, str(e)) from e

    return checked


@_flash
def _flash_program(board: BoardHost, request: Request) -> Result:
    board.flash.nor.program(request.a, request.data)
    return 0


@_flash
def _flash_erase(board: BoardHost, request: Request) -> Result:
    board.flash.nor.erase(request.a)
    return 0


def _nvs(board: BoardHost) -> Nvs:
    if board.nvs is None:
        raise OSError(errno.ENODEV, "no partition nvs")
    return board.nvs


def _name(field: bytes) -> str:
    return field.decode("utf-8", "replace")


def _nvs_set(board: BoardHost, request: Request) -> Result:
    namespace, key, value = request.data.split(b"\0", 2)
    if request.arg:
        _nvs(board).set_blob(_name(namespace), _name(key), value)
    else:
        _nvs(board).set_i32(_name(namespace), _name(key), struct.unpack("<i", value)[0])
    return 0


def _nvs_get(board: BoardHost, request: Request) -> Result:
    namespace, key = map(_name, request.data.split(b"\0"))
    if request.arg:
        return _nvs(board).get_blob(namespace, key)
    return struct.pack("<i", _nvs(board).get_i32(namespace, key))


def _nvs_erase(board: BoardHost, request: Request) -> Result:
    namespace, key = map(_name, request.data.split(b"\0"))
    _nvs(board).erase_key(namespace, key)
    return 0


def _link(board: BoardHost, request: Request) -> Result:
    return int(board.network.link)


def _route(board: BoardHost, request: Request) -> NoReturn:
    async def resolve() -> None:
        try:
            request.reply(await board.network.route(_name(request.data), request.a))
        except (OSError, UnicodeError):
            request.fail(_UNREACHABLE)

    board.spawn(resolve())
    raise Later


def _interrupt(board: BoardHost, request: Request) -> Result:
    return int(board.terminal.take_interrupt())


HANDLERS: dict[Op, Callable[[BoardHost, Request], Result]] = {
    Op.HELLO: _hello,
    Op.BOOTED: _booted,
    Op.RESET: _reset,
    Op.STEP: _step,
    Op.PIN_MODE: _pin_mode,
    Op.PIN_GET: _pin_get,
    Op.PIN_SET: _pin_set,
    Op.PIN_IRQ: _pin_irq,
    Op.PWM: _pwm,
    Op.I2C_SCAN: _i2c_scan,
    Op.I2C_WRITE: _i2c_write,
    Op.I2C_READ: _i2c_read,
    Op.WDT: _wdt,
    Op.RTC_SET: _rtc_set,
    Op.PARTITIONS: _partitions,
    Op.FLASH_PROGRAM: _flash_program,
    Op.FLASH_ERASE: _flash_erase,
    Op.NVS_SET: _nvs_set,
    Op.NVS_GET: _nvs_get,
    Op.NVS_ERASE: _nvs_erase,
    Op.LINK: _link,
    Op.ROUTE: _route,
    Op.INTERRUPT: _interrupt,
}
