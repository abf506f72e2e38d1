"""The watchdog is fed only while every task is alive (protocols/bounds.md)."""

import asyncio
import time
from collections import namedtuple

from gateway.app import App, _guard
from gateway.watch import Watch
from memory_store import Memory
from test_uplink import GATEWAY, Gateway

Config = namedtuple("Config", "gateway sign_key receipt_keys heartbeat_s")


class CountingDog:
    def __init__(self):
        self.fed = 0

    def feed(self):
        self.fed += 1


class Lamp:
    def show(self, signal, now_ms):
        pass

    def update(self, now_ms):
        pass


class DeadBus:
    def readfrom_mem_into(self, *args):
        raise OSError


class Button:
    def pressed(self):
        return False


def run_once(watch):
    async def main():
        task = asyncio.create_task(watch.run())
        await asyncio.sleep_ms(20)
        task.cancel()

    asyncio.run(main())


def test_TP_BND_017_a_task_that_is_late_is_named_and_the_dog_goes_hungry():
    memory, dog = Memory(), CountingDog()
    watch = Watch(dog, memory)
    quick, slow = watch.alive("quick"), watch.alive("slow")
    run_once(watch)
    assert dog.fed == 1 and watch.late() is None
    watch._seen["slow"] = time.ticks_add(time.ticks_ms(), -30_001)
    quick()
    run_once(watch)
    assert dog.fed == 1 and watch.late() == "slow"
    assert Watch(dog, memory).culprit() == "slow", "after the reset it is known who it was"
    assert Watch(dog, memory).culprit() is None, "and told once"
    slow()
    run_once(watch)
    assert dog.fed == 2


async def out_of_memory():
    raise MemoryError


async def done():
    pass


def test_TP_BND_017_a_task_that_must_live_is_late_as_soon_as_it_ends():
    for task in (out_of_memory, done):
        memory, dog = Memory(), CountingDog()
        watch = Watch(dog, memory)
        watch.alive("quick")
        asyncio.run(_guard("orders", task()))
        assert watch.late() is None, "that one may end"
        asyncio.run(_guard("mqtt", task(), watch))
        run_once(watch)
        assert dog.fed == 0 and watch.late() == "mqtt"
        assert watch.culprit() == "mqtt"


class DeadClient:
    connected = False

    async def run(self):
        raise MemoryError


def test_TP_BND_017_the_app_has_its_connection_watched():
    parts, dog = Gateway(), CountingDog()
    watch = Watch(dog, Memory())
    config = Config(GATEWAY, b"\x23" * 32, {}, 300)
    lamp = Lamp()
    bus = DeadBus(), 0, None
    app = App(
        config, (Button(), Button()), lambda: True, bus, lamp, watch, parts.clock, parts.journal, DeadClient(), Memory(), 0, None
    )  # fmt: skip

    async def main():
        task = asyncio.create_task(app.run())
        await asyncio.sleep_ms(20)
        task.cancel()

    asyncio.run(main())
    assert watch.late() == "mqtt"


def test_TP_BND_017_thirty_seconds_are_not_late():
    watch = Watch(None, Memory())
    watch.alive("task")
    watch._seen["task"] = time.ticks_add(time.ticks_ms(), -29_900)
    assert watch.late() is None
