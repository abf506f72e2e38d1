"""The watchdog is fed only while every task is alive (protocols/bounds.md)."""

import asyncio
import time

from gateway.watch import Watch
from memory_store import Memory


class CountingDog:
    def __init__(self):
        self.fed = 0

    def feed(self):
        self.fed += 1


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


def test_TP_BND_017_thirty_seconds_are_not_late():
    watch = Watch(None, Memory())
    watch.alive("task")
    watch._seen["task"] = time.ticks_add(time.ticks_ms(), -29_900)
    assert watch.late() is None
