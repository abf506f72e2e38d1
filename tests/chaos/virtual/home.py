"""A home with a gateway: the real App from journal to lamp on modelled flash, without its sensors' drivers.

What survives a power cut is in Home: flash, NVS, and the list of what the gateway has promised to keep. Each `live` is one boot."""

import asyncio
import random
import sys
import time

import board_trace
from gateway import app as app_module
from gateway import kinds, p256
from gateway.bounds import UNANSWERED_AGAIN_MS
from gateway.clock import Clock
from gateway.drivers.lamp import Lamp
from gateway.journal import Journal
from gateway.mqtt import Client
from gateway.paths import begin
from gateway.recall import recall
from gateway.settings import Settings
from gateway.store import JournalMark, Store
from gateway.watch import Watch
from nor import BlockDevice, Nor, PowerCut
from world import Cut

GATEWAY = "home-0001"
BLOCKS = 16  # 64 KiB: information overflows in a long outage
_SIGN_KEY = b"\x23" * 32
_BUILT_MS = 1795219200000
_SETTLE_MS = 300  # of a board, from power to the firmware
_TRACE = 300
_MOST_ALARMS = 16  # that the home follows (TP-BND-042)


class Home:
    """`kept`: {(epoch, seq): (bytes, alarm)} of every append that returned; `tried`: set of (epoch, seq, bytes), cut ones too."""

    def __init__(self, world, networks, receipt_keys):
        self.world, self.networks, self.receipt_keys = world, networks, receipt_keys
        key = bytes(random.getrandbits(8) for _ in range(251)) if random.getrandbits(1) else b""
        self.nor = Nor(BLOCKS * 4096, strict=True, key=key, sleep_ms=time.sleep_ms)
        self.nvs = _Nvs()
        self.kept = {}
        self.tried = set()
        self.reused = []
        self.mains = 1
        self.app = None
        self.boots = self.cuts = 0
        self.arrivals = [0] * len(networks)
        self.trace = []
        self.died = []
        self.shown = []  # [(seq, state)] of the alarms that the home showed an outcome of when the power went
        self.forgotten = []  # of these, what the next boot did not show
        self.break_app = None
        self._config = Settings(
            gateway=GATEWAY, version=1, brokers=[("broker", path) for path in range(len(networks))], provisioned_ms=_BUILT_MS,
            grace_ms=0, placement="waist", location=1, heartbeat_s=300, time_servers=[], receipt_keys=receipt_keys, sign_key=_SIGN_KEY,
        )  # fmt: skip
        app_module.log = self.say

    @staticmethod
    def public_key():
        return p256.public_key(_SIGN_KEY)

    def say(self, text):
        self.trace = self.trace[1 - _TRACE :] + ["%d %s" % (self.world.now_ms(), text)]

    def live(self):
        """One boot, until the power is cut."""
        self.boots += 1
        self.nor.power_on()
        self.world.power = True
        self.world.begin_loop()
        time.sleep_ms(_SETTLE_MS)
        try:
            self._switch_on()
            asyncio.run(self._work())
        except Cut:
            pass
        self.shown = states(self.app.home) if self.app else self.shown
        self.app = None
        board_trace.listener = None
        for network in self.networks:
            network.power_cut()

    def _switch_on(self):
        store = Store(self.nvs)
        journal = KeptJournal(self, JournalMark(store))
        clock = Clock(time.set_rtc, store, _BUILT_MS)
        paths = begin(self._config.brokers)

        async def opener(attempt):
            _, path = paths.address[0]
            self.arrivals[path] += 1
            return await self.networks[path].open(attempt)

        client = Client(
            GATEWAY, opener, session_expiry_s=3600, max_packet=1536, tx_bytes=256, user=GATEWAY, resend=False,
            random=random.random, round=len(self.networks),
        )  # fmt: skip
        client.subscribe("trygg/1/%s/receipt" % GATEWAY)
        pin = _Pin()
        app = self.app = app_module.App(
            self._config, (None, None), lambda: self.mains, None, Lamp(pin, pin, pin, UNANSWERED_AGAIN_MS), Watch(None, store),
            clock, journal, client, store, 0, paths,
        )  # fmt: skip
        data = {kinds.DATA_CAUSE: kinds.CAUSE_POWER_ON}
        if journal.previous_epoch:
            data[kinds.DATA_PREVIOUS_EPOCH] = journal.previous_epoch
        recall(app.home, store, journal, clock.uptime_ms())
        now = dict(states(app.home))
        if len(app.home._alarms) < _MOST_ALARMS:
            self.forgotten += [alarm for alarm in self.shown if now.get(alarm[0], 0) < alarm[1]]
        app.record(kinds.BOOT, data=data)
        if self.break_app:
            self.break_app(app)

    async def _work(self):
        app = self.app
        for task in (app.uplink.run(_alive), app.uplink.run_receipts(_alive), app.heartbeat(_alive)):
            asyncio.create_task(self._guard(task))
        await self._guard(app.client.run())

    async def _guard(self, task):
        try:
            await task
        except Exception as e:
            sys.print_exception(e)
        self.died.append("a task has ended")
        raise Cut


def states(home):
    return [(seq, state) for seq, state, _, _ in home._alarms if state]


class KeptJournal(Journal):
    """A journal on the home's flash that tells the home what it promised to keep, and dies with the power."""

    def __init__(self, home, mark):
        self._home = home
        super().__init__(_Device(home), mark, _random_bytes)

    def append(self, payload, alarm, **more):
        home = self._home
        name = (self.epoch, self.next_seq)
        home.tried.add(name + (payload,))
        seq = super().append(payload, alarm, **more)
        if name in home.kept or seq != name[1]:
            home.reused.append(name)
        home.kept[name] = (payload, alarm)
        return seq


class _Device(BlockDevice):
    def __init__(self, home):
        super().__init__(home.nor)
        self._home = home

    def _until_the_cut(self, operation, *args):
        try:
            return operation(*args)
        except PowerCut:
            self._home.cuts += self._home.world.power
            self._home.world.power = False
            raise Cut

    def readblocks(self, n, buf, off=0):
        self._until_the_cut(super().readblocks, n, buf, off)

    def writeblocks(self, n, buf, off=None):
        self._until_the_cut(super().writeblocks, n, buf, off)

    def ioctl(self, op, arg):
        return self._until_the_cut(super().ioctl, op, arg)


class _Nvs:
    """esp32.NVS in memory: what was set is durable at commit."""

    def __init__(self):
        self._durable = {}
        self._set = {}

    def get_blob(self, name, buffer):
        if name not in self._durable:
            raise OSError(-0x1102)
        value = self._durable[name]
        buffer[: len(value)] = value
        return len(value)

    def set_blob(self, name, value):
        self._set[name] = bytes(value)

    def erase_key(self, name):
        if self._durable.pop(name, None) is None:
            raise OSError(-0x1102)

    def commit(self):
        self._durable.update(self._set)
        self._set = {}


class _Pin:
    """Light and buzzer."""

    def __call__(self, level):
        pass

    def freq(self, hz):
        pass

    def duty_u16(self, duty):
        pass


def _random_bytes(count):
    return bytes(random.getrandbits(8) for _ in range(count))


def _alive():
    pass
