"""Wires sensors, journal, uplink and the home's light and sound together. The only file that knows them all.

Data flow: sensor -> rule -> recorder (journal) -> uplink -> receipt -> home."""

import asyncio
import json
import ssl
import sys
import time
from array import array

import machine
from micropython import const

from gateway import BUILT_MS, VERSION, cbor, cose, kinds, p256
from gateway.clock import Clock
from gateway.drivers.button import Button
from gateway.drivers.lamp import Lamp
from gateway.event import Recorder
from gateway.home import Home
from gateway.journal import Journal
from gateway.mqtt import Client, tls_opener
from gateway.store import JournalMark, Store
from gateway.trace import step
from gateway.uplink import Uplink, restore
from gateway.watch import Watch

_SENSOR_MS = const(100)
_WDT_MS = const(60_000)
_MAX_PACKET = const(2048)  # TP-BND-014
_MAX_PENDING = const(1000)
_SESSION_S = const(3600)  # receipts wait at the broker that long
_CAUSES = {
    machine.PWRON_RESET: kinds.CAUSE_POWER_ON,
    machine.HARD_RESET: kinds.CAUSE_HARD_RESET,
    machine.WDT_RESET: kinds.CAUSE_WATCHDOG,
    machine.DEEPSLEEP_RESET: kinds.CAUSE_DEEP_SLEEP,
    machine.SOFT_RESET: kinds.CAUSE_SOFT_RESET,
}


# What mbedTLS says of a handshake, and what to do about it.
_ADVICE = (
    ("not correctly signed", "another authority's broker; check the address, or provision the gateway for this one"),
    ("has expired", "renew the broker's certificate"),
    ("starts in the future", "the gateway's clock is behind; provision it again"),
    ("-202", "no name server answers; check the network"),
    ("does not match", "the broker's certificate is for another name; check the address"),
)


def log(text):
    """One line on the serial port, stamped with ms since boot. Never a key, never a person."""
    print("%9d %s" % (time.ticks_ms(), text))


class App:
    """`board`: the content of /board.json; `config`: settings.Settings; `store`: Store; `flash`: the journal's partition."""

    def __init__(self, board, config, store, flash):

        pins = board["pins"]
        self.board = board
        self.config = config
        # Buttons come first: a press while the journal recovers must not be lost.
        self.help = Button(_input(pins["help_button"]), self.help_pressed)
        self.cancel = Button(_input(pins["cancel_button"]), self.cancel_pressed)
        output = [machine.Pin(pins[name], machine.Pin.OUT, value=0) for name in ("led_red", "led_green")]
        self.lamp = Lamp(*output, machine.PWM(machine.Pin(pins["buzzer"]), freq=1000, duty_u16=0))
        self.mains = _input(pins["mains"])
        self.store = store
        self.watch = Watch(machine.WDT(timeout=_WDT_MS), store)
        self.clock = Clock(machine.RTC().datetime, store, max(BUILT_MS, config.provisioned_ms))
        self.home = Home()
        self.journal = Journal(flash, JournalMark(store))
        self.recorder = Recorder(config.gateway, self.journal, self.clock)
        self.fall_seq = None
        self.connects = 0
        self.kid = cose.kid(p256.public_key(config.sign_key))
        self.client = self._client()
        self.uplink = Uplink(
            config.gateway, self.journal, self.client, self.sign_steps, config.receipt_keys, self.clock, self.home
        )
        self.uplink.on_first_time = lambda: self.record(kinds.CLOCK)
        self.uplink.on_fault = self.outcome_fault
        self.client.on_message = self.uplink.message
        self.client.on_connect = self.connected
        self.client.on_disconnect = self.disconnected

    def _client(self):
        config = self.config
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_cert_chain(config.tls_certificate, config.tls_key)
        tls.load_verify_locations(cadata=config.broker_ca)
        tls.verify_mode = ssl.CERT_REQUIRED
        host, _ = config.brokers[0]
        client = Client(
            config.gateway,
            tls_opener(config.brokers, tls, host),
            session_expiry_s=_SESSION_S,
            max_packet=_MAX_PACKET,
            will=self.will,
            user=config.gateway,
            resend=False,
        )
        client.subscribe("trygg/1/%s/receipt" % config.gateway)
        return client

    # What happened.

    def record(self, kind, state=kinds.STATE_RAISED, **what):
        """Journals an event, hands it to the uplink, shows it in the home. Returns its seq."""
        seq, payload, alarm = self.recorder.record(kind, state, **what)
        log("journal: %s %d seq=%d" % (kinds.KINDS[kind][0], state, seq))
        if alarm and state == kinds.STATE_RAISED:
            self.home.raised(seq, kind, self.clock.uptime_ms())
            self.show()
        self.uplink.fresh(seq, payload, alarm)
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
        self.lamp.show(self.home.signal(self.clock.uptime_ms()))

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
        log("mqtt: connected %d" % self.connects)
        self.home.online = True
        self.show()
        self.uplink.connected()
        asyncio.create_task(self.uplink.publish_signed("status", self.status(True), retain=True))

    def disconnected(self, reason):
        text = " ".join(str(reason).split())
        for sign, advice in _ADVICE:
            if sign in text:
                text += ": " + advice
        log("mqtt: " + text)
        self.home.online = False
        self.show()

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
            12: 0,
            13: VERSION,
        }
        utc_ms = self.clock.utc_ms()
        if utc_ms is not None:
            status[10] = utc_ms
        return cbor.encode(status)

    # Tasks.

    def recover(self):
        """What this boot has to tell before anything new: the boot, what the journal lost, what became of the epoch."""
        data = {kinds.DATA_CAUSE: _CAUSES.get(machine.reset_cause(), 0), kinds.DATA_FIRMWARE: VERSION}
        culprit = self.watch.culprit()
        if culprit:
            data[kinds.DATA_TASK] = culprit
        for _, alarm, payload in self.journal.pending(_MAX_PENDING):
            if not alarm:
                break
            restore(self.home, payload, self.clock.uptime_ms())
        self.record(kinds.BOOT, data=data)
        if self.mains() == 0:
            self.record(kinds.MAINS, sensor="mains")
        self.tell_drops()

    def tell_drops(self):
        for first, last, alarms in self.journal.drops():
            data = {kinds.DATA_FIRST: first, kinds.DATA_LAST: last, kinds.DATA_ALARMS: alarms}
            self.record(kinds.DROP, data=data)
            if alarms:
                self.fault(kinds.FAULT_JOURNAL_FULL)

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

        bus = self.board["i2c"]
        i2c = machine.I2C(0, scl=machine.Pin(bus["scl"]), sda=machine.Pin(bus["sda"]))
        sensor = lis3dh.LIS3DH(i2c, self.board["accelerometer"]["address"])
        detector = FallDetector(lis3dh.RATE_HZ, self.config.placement)
        samples = array("h", bytes(6 * lis3dh.DEPTH))
        read_ms = time.ticks_ms()
        while True:
            alive()
            count = sensor.read_into(samples)
            now_ms = time.ticks_ms()
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
        data = {kinds.DATA_EVIDENCE: list(verdict.evidence)}
        if verdict.kind == "fallen":
            data[kinds.DATA_GRACE_MS] = self.config.grace_ms
            self.fall_seq = self.record(kinds.FALL, sensor="fall", location=self.config.location, data=data)
        elif self.fall_seq is not None:
            data[kinds.DATA_VERDICT] = kinds.VERDICT_LONG_LIE if verdict.kind == "long_lie" else kinds.VERDICT_RECOVERED
            self.record(kinds.FALL, kinds.STATE_UPDATED, ref=self.fall_seq, sensor="fall", data=data)

    async def watch_mains(self, alive):
        present = self.mains()
        lost_seq = None
        while True:
            alive()
            await asyncio.sleep_ms(500)
            if self.mains() != present:
                present = self.mains()
                if present:
                    self.record(kinds.MAINS, kinds.STATE_CLEARED, ref=lost_seq, sensor="mains")
                else:
                    lost_seq = self.record(kinds.MAINS, sensor="mains")

    async def heartbeat(self, alive):
        since = time.ticks_ms()
        while True:
            alive()
            await asyncio.sleep_ms(1000)
            self.show()
            self.tell_drops()
            self.journal.idle()
            if time.ticks_diff(time.ticks_ms(), since) >= self.config.heartbeat_s * 1000:
                since = time.ticks_ms()
                if self.client.connected:
                    await self.uplink.publish_signed("status", self.status(True), retain=True)

    async def run(self):
        self.recover()
        self.show()
        tasks = {
            "help": self.help.run,
            "cancel": self.cancel.run,
            "light": self.lamp.run_light,
            "sound": self.lamp.run_sound,
            "uplink": self.uplink.run,
            "receipts": self.uplink.run_receipts,
            "sense": self.sense,
            "mains": self.watch_mains,
            "heartbeat": self.heartbeat,
        }
        for name, task in tasks.items():
            asyncio.create_task(_guard(name, task(self.watch.alive(name))))
        asyncio.create_task(_guard("mqtt", self.client.run()))
        await self.watch.run()


async def _guard(name, task):
    """A task that ends is not alive any more: say why; the watchdog does the rest."""
    try:
        await task
    except Exception as e:
        log("task %s stopped" % name)
        sys.print_exception(e)


def _input(pin):
    return machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP)


def main():
    """Runs the gateway, or says in one sentence why it cannot."""
    import esp32

    store = Store(esp32.NVS("trygg"))
    try:
        config = _configuration(store)
        flash = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="journal")
        if not flash:
            raise ValueError("no flash partition named journal: flash the gateway again")
    except ValueError as e:
        log("gateway: %s" % e)
        return
    with open("/board.json") as f:
        board = json.load(f)
    log("gateway: %s %s" % (config.gateway, VERSION))
    asyncio.run(App(board, config, store, flash[0]).run())


def _configuration(store):
    """The settings in force. The modules that read them are forgotten again: heap that TLS needs."""
    import gateway
    from gateway import settings

    config = settings.load(store)
    for name in ("identity", "settings"):
        delattr(gateway, name)
        del sys.modules["gateway." + name]
    return config
