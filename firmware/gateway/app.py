"""The gateway at work: brings sensors, journal, uplink and the home's light and sound together; `start` has made them.

Data flow: sensor -> rule -> recorder (journal) -> uplink -> receipt -> home."""

import asyncio
import gc
import sys
import time
from array import array

from micropython import const

from gateway import VERSION, cbor, cose, kinds, p256
from gateway.bounds import SECOND_PATH_MS, SWITCH_MS, TRIAL_MS
from gateway.event import Recorder
from gateway.home import Home
from gateway.trace import step
from gateway.uplink import Uplink

_ON_TRIAL = const(1)
_MAX_ORDERS = const(2)  # TP-BND-023
_SENSOR_MS = const(100)
_STILL = const(50)  # reads without movement: 5 s or a little more
_UNCALLED_MS = const(600)  # less than the FIFO holds; INT1 has called by then, where its wire is whole
_TICK_MS = const(10)
_RESERVE = const(4096)  # bytes of heap: what a fall takes until it is in flash
_DEPTH = const(20)  # calls: as deep as the imports of the start


def log(text):
    """One line on the serial port, stamped with ms since boot. Never a key, never a person."""
    print("%9d %s" % (time.ticks_ms(), text))


class App:
    """`config`: settings.Settings · `buttons`: help, cancel · `mains`: input, 0 without mains · `accelerometer`: I2C bus, address,
    INT1 · `trial`: phase of a change of settings (gateway.trial), 0 for none."""

    def __init__(self, config, buttons, mains, accelerometer, lamp, watch, clock, journal, client, store, trial, paths):
        self.config = config
        self.help, self.cancel = buttons
        self.mains = mains
        self.mains_lost = None  # seq of the event
        self.accelerometer = accelerometer
        self.lamp = lamp
        self.watch = watch
        self.clock = clock
        self.journal = journal
        self.client = client
        self.store = store
        self.trial = trial
        self.paths = paths
        self.orders = ()  # envelopes that came on the topic command
        self.results = ()  # (whether it ends a trial, payload) that the broker has not got yet
        self.refused_orders = 0
        self.working = False
        self.untold = False  # the status is to be published
        self.home = Home(store)
        self.recorder = Recorder(config.gateway, journal, clock)
        self.reserve = bytearray(_RESERVE)  # let go when the heap has no room for what happens now
        self.fall_seq = None
        self.connects = 0
        self.kid = cose.kid(p256.public_key(config.sign_key))
        self.uplink = Uplink(config.gateway, journal, client, self.sign_steps, config.receipt_keys, clock, self.home)
        clock.on_change = self.clock_changed
        self.uplink.on_fault = self.outcome_fault
        self.uplink.on_path = self.move
        self.uplink.on_order = self.work
        if trial == _ON_TRIAL:
            self.uplink.on_bound = self.end_trial
        client.will = self.will
        client.on_message = self.uplink.message
        client.on_connect = self.connected
        client.on_disconnect = self.disconnected

    # What happened.

    def record(self, kind, state=kinds.STATE_RAISED, first=False, **what):
        """Journals an event, hands it to the uplink, which sends it ahead of a backlog if it is an alarm or to be `first`, and
        shows it in the home. Returns its seq."""
        try:
            seq, payload, alarm = self.recorder.record(kind, state, **what)
        except MemoryError:  # who signs will be done with it in a moment, and nobody presses twice for us
            self.reserve = None
            gc.collect()
            seq, payload, alarm = self.recorder.record(kind, state, **what)
        log("journal: %s %d seq=%d" % (kinds.KINDS[kind][0], state, seq))
        if alarm and state == kinds.STATE_RAISED:
            self.paths.switch_ms = SWITCH_MS  # the patience of older ones does not count
            self.home.raised(seq, kind, self.clock.uptime_ms())
            self.show()
        self.uplink.fresh(seq, payload, alarm, first)
        return seq

    def help_pressed(self):
        step("edge")
        self.record(kinds.HELP, sensor="help", location=self.config.location)

    def cancel_pressed(self):
        alarm = self.home.newest_open()
        if alarm is not None:
            seq, kind = alarm
            step("edge")
            self.record(kind, kinds.STATE_CLEARED, ref=seq, sensor="cancel")
            self.home.cancelled(seq, self.clock.uptime_ms())
            self.show()

    def clock_changed(self, before_ms):
        self.record(kinds.CLOCK, data=before_ms and {kinds.DATA_OLD_UTC_MS: before_ms})

    def outcome_fault(self, outcome):
        fault = kinds.FAULT_CONFLICT if outcome == kinds.OUTCOME_CONFLICT else kinds.FAULT_QUARANTINED
        self.fault(fault)

    def fault(self, code, **more):
        """Tells of a fault once a boot and lights it."""
        if code not in self.home.faults:
            self.home.faults.add(code)
            self.record(kinds.FAULT, data=dict({kinds.DATA_FAULT: code}, **more))
            self.show()

    def show(self):
        now_ms = self.clock.uptime_ms()
        self.lamp.show(self.home.signal(now_ms), now_ms)

    # The connection.

    def will(self):
        """The will of the next connection: signed now, since the broker speaks it when we cannot."""
        self.connects += 1
        topic = "trygg/1/%s/status" % self.config.gateway
        return topic, cose.sign1(self.status(False), topic.encode(), self.config.sign_key, self.kid), 1, True

    def sign_steps(self, payload, aad):
        return cose.sign1_steps(payload, aad, self.config.sign_key, self.kid)

    def connected(self, session_present):
        step("connected")
        log("mqtt: connected %d, path %d" % (self.connects, self.paths.path))
        self.clock.back_ms = None
        if self.clock.asking:
            self.clock.asking.cancel()  # a receipt tells more
        self.home.online = True
        self.show()
        self.uplink.connected()
        asyncio.create_task(self.tell())
        self.move("on_arrival")

    def disconnected(self, reason):
        self.move("on_loss")
        if reason is None:
            return  # moving to another path is no loss of contact yet
        from gateway import advice

        advice.failed(self, reason, log)
        _forget("gateway.advice", "gateway.sntp")
        self.home.online = False
        self.show()

    def move(self, rule):
        """Applies a rule of gateway.moves, which is loaded for it and forgotten."""
        if len(self.paths.brokers) < 2:
            return
        gc.collect()  # in one piece, and not among what stays
        from gateway import moves

        getattr(moves, rule)(self)
        _forget("gateway.moves", "gateway.bounds")

    async def tell(self):
        """Publishes the status. The heartbeat does it again when the heap had no room."""
        self.untold = False
        try:
            await self.uplink.publish_signed("status", self.status(True), retain=True)
        except MemoryError:
            self.untold = True

    def look_at_paths(self):
        """Is it time to leave this path, or to judge it?"""
        paths = self.paths
        if paths.arrived_ms is not None and len(paths.brokers) > 1:
            now_ms = self.clock.uptime_ms()
            alarm_ms = self.uplink.alarm_ms
            overdue = alarm_ms is not None and now_ms - alarm_ms >= max(SECOND_PATH_MS, paths.switch_ms)
            if overdue or paths.refused or now_ms >= paths.look_ms:
                self.move("look")

    def status(self, online):
        stats = self.journal.stats()
        status = {
            1: self.config.gateway,
            2: self.journal.epoch,
            3: self.journal.boot,
            4: self.connects,
            5: online,
            6: self.journal.next_seq,
            7: stats["pending_alarms"],
            8: stats["pending_events"],
            9: self.clock.uptime_ms(),
            11: self.clock.quality(),
            12: self.paths.path,
            13: VERSION,
        }
        utc_ms = self.clock.utc_ms()
        if utc_ms is not None:
            status[10] = utc_ms
        return cbor.encode(status)

    # Orders of the receiver, and settings on trial.

    def work(self, envelope=None):
        """Takes an order, and attends to what there is. The receiver repeats what gets no result."""
        if envelope and len(self.orders) < _MAX_ORDERS:
            self.orders += (envelope,)
        if not self.working and self.client.connected:
            self.working = True
            asyncio.create_task(_guard("orders", self._work()))

    async def _work(self):
        try:
            from gateway import orders

            await orders.work(self, _forget)
        finally:
            self.working = False

    def end_trial(self, *receipt):
        from gateway import trial

        trial.end(self, *receipt)
        _forget("gateway.trial")

    def look_at_mains(self):
        """Tells when the mains has gone, and when it is back."""
        if self.mains():
            if self.mains_lost is not None:
                self.record(kinds.MAINS, kinds.STATE_CLEARED, ref=self.mains_lost, sensor="mains")
                self.mains_lost = None
        elif self.mains_lost is None:
            self.mains_lost = self.record(kinds.MAINS, sensor="mains")

    def tell_drops(self):
        for first, last, alarms in self.journal.drops():
            data = {kinds.DATA_FIRST: first, kinds.DATA_LAST: last, kinds.DATA_ALARMS: alarms}
            self.record(kinds.DROP, data=data)
            if alarms:
                self.fault(kinds.FAULT_JOURNAL_FULL)

    # Tasks.

    async def sense(self, alive):
        """Accelerometer to fall alarms. A sensor that does not answer is a fault, and is tried again."""
        while True:
            try:
                await self.watch_for_falls(alive)
            except OSError as e:
                log("accelerometer: %s" % e)
                self.fault(kinds.FAULT_ACCELEROMETER)
            for _ in range(10):
                alive()
                await asyncio.sleep_ms(1000)

    async def watch_for_falls(self, alive):
        from gateway.drivers import lis3dh
        from gateway.fall import FallDetector

        bus, address, int1 = self.accelerometer
        sensor = lis3dh.LIS3DH(bus, address)
        detector = FallDetector(lis3dh.RATE_HZ, self.config.placement)
        samples = array("h", bytes(6 * lis3dh.DEPTH))
        read_ms = time.ticks_ms()
        still = 0
        while True:
            alive()
            now_ms = time.ticks_ms()
            # Who lies or sits still is left to the chip: it calls when he moves, and before its FIFO is full.
            if still < _STILL or int1() or time.ticks_diff(now_ms, read_ms) > _UNCALLED_MS:
                still = 0 if sensor.moved() else min(still + 1, _STILL)
                count = sensor.read_into(samples)
                if sensor.overrun:
                    detector.gap(max(0, time.ticks_diff(now_ms, read_ms) - count * 1000 // lis3dh.RATE_HZ))
                read_ms = now_ms
                for i in range(0, 3 * count, 3):
                    verdict = detector.feed(samples[i], samples[i + 1], samples[i + 2])
                    if verdict:
                        self.fall_verdict(verdict)
            await asyncio.sleep_ms(_SENSOR_MS)

    def fall_verdict(self, verdict):
        step("edge")
        data = {kinds.DATA_EVIDENCE: verdict.evidence}
        if verdict.kind == "fallen":
            data[kinds.DATA_GRACE_MS] = self.config.grace_ms
            self.fall_seq = self.record(kinds.FALL, sensor="fall", location=self.config.location, data=data)
        elif self.fall_seq is not None:
            data[kinds.DATA_VERDICT] = kinds.VERDICT_LONG_LIE if verdict.kind == "long_lie" else kinds.VERDICT_RECOVERED
            self.record(kinds.FALL, kinds.STATE_UPDATED, ref=self.fall_seq, sensor="fall", data=data)

    async def attend(self, alive):
        """What the resident touches, sees and hears."""
        while True:
            alive()
            if self.help.pressed():
                self.help_pressed()
            if self.cancel.pressed():
                self.cancel_pressed()
            self.lamp.update(self.clock.uptime_ms())
            await asyncio.sleep_ms(_TICK_MS)

    async def heartbeat(self, alive):
        since = time.ticks_ms()
        while True:
            alive()
            await asyncio.sleep_ms(1000)
            if self.reserve is None:
                try:
                    self.reserve = bytearray(_RESERVE)
                except MemoryError:
                    pass
            self.show()
            self.look_at_mains()
            self.tell_drops()
            if self.trial == _ON_TRIAL and self.clock.uptime_ms() >= TRIAL_MS:
                self.end_trial()
            elif self.orders or self.results or self.trial > _ON_TRIAL:
                self.work()
            self.uplink.tick()
            self.look_at_paths()
            self.journal.idle()
            if time.ticks_diff(time.ticks_ms(), since) >= self.config.heartbeat_s * 1000:
                since = time.ticks_ms()
                self.untold = True
            if self.untold and self.client.connected:
                await self.tell()

    async def run(self):
        self.show()
        tasks = {
            "attend": self.attend,
            "uplink": self.uplink.run,
            "receipts": self.uplink.run_receipts,
            "sense": self.sense,
            "heartbeat": self.heartbeat,
        }
        for name, task in tasks.items():
            asyncio.create_task(_guard(name, task(self.watch.alive(name)), self.watch))
        asyncio.create_task(_guard("mqtt", self.client.run(), self.watch))
        await self.watch.run()


async def _guard(name, task, watch=None):
    """Says why a task ended. One that must live has a `watch`: it is not alive any more, and the watchdog does the rest."""
    try:
        await task
    except Exception as e:
        log("task %s stopped" % name)
        sys.print_exception(e)
    finally:
        if watch:
            watch.ended(name)


def main():
    """Runs the gateway, or says in one sentence why it cannot."""
    try:
        app = _start()
    except ValueError as e:
        log("gateway: %s" % e)
        return
    _overwrite_stack(_DEPTH)
    asyncio.run(app.run())


def _overwrite_stack(depth):
    """What the start has left on the C stack would keep some of it from being freed: the collector takes it for pointers."""
    if depth:
        _overwrite_stack(depth - 1)


def _start():
    """The App. The modules that only the start needs are forgotten."""
    from gateway import start

    try:
        return start.make()
    finally:
        _forget(
            "gateway.start",
            "gateway.bounds",
            "gateway.paths",
            "gateway.recall",
            "gateway.settings",
            "gateway.identity",
            "gateway.trial",
            "gateway.journal.recover",
        )


def _forget(*names):
    """Frees what modules take; they are loaded again when they are needed again."""
    for name in names:
        if name in sys.modules:
            package, module = name.rsplit(".", 1)
            delattr(sys.modules[package], module)
            del sys.modules[name]
