"""What happens once, before the gateway is at work: its settings, its parts, and what this boot has to tell.

`app.main` forgets this module and those that only it uses as soon as it has run: heap that TLS needs."""

import json

import esp32
import machine
import tls
from micropython import const

from gateway import BUILT_MS, VERSION, bounds, kinds, settings
from gateway.app import App, log
from gateway.clock import Clock
from gateway.drivers.button import Button
from gateway.drivers.lamp import Lamp
from gateway.journal import Journal
from gateway.mqtt import Client, tls_opener
from gateway.paths import begin
from gateway.recall import recall
from gateway.store import JournalMark, Store
from gateway.watch import Watch

_KEPT = const(2)  # a phase of gateway.trial: above it the last good settings are back
_WDT_MS = const(60_000)
_MAX_PACKET = const(1536)  # TP-BND-014
_TX_BYTES = const(256)  # an envelope is sent from where it is
_SESSION_S = const(3600)  # receipts wait at the broker that long
_CAUSES = {
    machine.PWRON_RESET: kinds.CAUSE_POWER_ON,
    machine.HARD_RESET: kinds.CAUSE_HARD_RESET,
    machine.WDT_RESET: kinds.CAUSE_WATCHDOG,
    machine.DEEPSLEEP_RESET: kinds.CAUSE_DEEP_SLEEP,
    machine.SOFT_RESET: kinds.CAUSE_SOFT_RESET,
}


def make():
    """The App with its parts, once it has journalled what this boot has to tell. Raises ValueError with a sentence."""
    store = Store(esp32.NVS("trygg"))
    flash = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="journal")
    if not flash:
        raise ValueError("no flash partition named journal: flash the gateway again")
    if store.get("wipe"):
        from gateway import wipe

        wipe.finish(store, flash[0])
    phase, config, certificates = settings.load(store)
    with open("/board.json") as f:
        board = json.load(f)
    log("gateway: %s %s" % (config.gateway, VERSION))
    pins = board["pins"]
    # Buttons come first: a press while the journal recovers must not be lost.
    buttons = [Button(_input(pins[name])) for name in ("help_button", "cancel_button")]
    output = [machine.Pin(pins[name], machine.Pin.OUT, value=0) for name in ("led_red", "led_green")]
    paths = begin(config.brokers)
    app = App(
        config,
        buttons,
        _input(pins["mains"]),
        _accelerometer(board["i2c"], board["accelerometer"]),
        Lamp(*output, machine.PWM(machine.Pin(pins["buzzer"]), freq=1000, duty_u16=0), bounds.UNANSWERED_AGAIN_MS),
        Watch(machine.WDT(timeout=_WDT_MS), store),
        Clock(machine.RTC().datetime, store, max(BUILT_MS, config.provisioned_ms)),
        Journal(flash[0], JournalMark(store)),
        _client(config, paths, *certificates),
        store,
        phase,
        paths,
    )
    _tell(app)
    return app


def _input(pin):
    return machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP)


def _accelerometer(bus, chip):
    i2c = machine.I2C(0, scl=machine.Pin(bus["scl"]), sda=machine.Pin(bus["sda"]))
    return i2c, chip["address"], machine.Pin(chip["int1"], machine.Pin.IN)


def _client(config, paths, certificate, key, authority):
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    client = Client(
        config.gateway,
        tls_opener(paths.address, context),
        keep_alive_s=(bounds.KEEP_ALIVE_MS + 999) // 1000,
        session_expiry_s=_SESSION_S,
        max_packet=_MAX_PACKET,
        tx_bytes=_TX_BYTES,
        user=config.gateway,
        resend=False,
        round=len(config.brokers),
        handshake_ms=bounds.HANDSHAKE_MS,
        hurry_ms=bounds.HURRY_MS,
        ack_ms=bounds.PUBACK_MS,
        backoff_ms=bounds.BACKOFF_MS,
        kick_ms=bounds.KICK_MS,
    )
    client.subscribe("trygg/1/%s/receipt" % config.gateway)
    client.subscribe("trygg/1/%s/command" % config.gateway)
    return client


def _tell(app):
    """What this boot has to tell before anything new: the boot, what the journal lost, what became of the epoch."""
    data = {kinds.DATA_CAUSE: _CAUSES.get(machine.reset_cause(), 0), kinds.DATA_FIRMWARE: VERSION}
    culprit = app.watch.culprit()
    if culprit:
        data[kinds.DATA_TASK] = culprit
    if app.journal.previous_epoch:
        data[kinds.DATA_PREVIOUS_EPOCH] = app.journal.previous_epoch
    recall(app.home, app.store, app.journal, app.clock.uptime_ms())
    app.record(kinds.BOOT, data=data)
    if app.trial > _KEPT:
        app.record(kinds.FAULT, data={kinds.DATA_FAULT: kinds.FAULT_CHANGE_RETURNED})
    app.look_at_mains()
    app.tell_drops()
