"""Provisioning over the serial port: the host calls these functions through the raw REPL, each prints one JSON line.

Keys are made here and stay here; what leaves is a certificate signing request. Files are staged and take effect all at
once in `commit`, so a pulled cable leaves the gateway as it was."""

import binascii
import json
import os

from gateway import VERSION, cose, identity, p256, settings, trial
from gateway.store import Store


def hello():
    """Who this is: {"hardware": unique id, "firmware": version, "gateway": id or null}."""
    import machine

    try:
        gateway = settings.read(trial.FOLDER, _store())[0].gateway
    except settings.SettingsError:
        gateway = None
    _say({"hardware": binascii.hexlify(machine.unique_id()).decode(), "firmware": VERSION, "gateway": gateway})


def requests(gateway):
    """Makes the two keys unless they are there, and prints their signing requests: {"tls": hex DER, "sign": hex DER}."""
    store = _store()
    identity.create(store, os.urandom)
    keys = (("tls", identity.TLS_KEY), ("sign", identity.SIGN_KEY))
    _say({name: binascii.hexlify(identity.csr(store.get(key), gateway)).decode() for name, key in keys})


def stage():
    """Makes the folder the host writes the new files to."""
    trial.abandon(_store())
    trial.remove(trial.STAGED)
    os.mkdir(trial.STAGED)
    _say({"folder": trial.STAGED})


def commit(gateway):
    """Checks everything staged, then puts it in place. Prints {"gateway": id} or {"error": sentence}."""
    try:
        staged, _ = settings.read(trial.STAGED, _store())
        if staged.gateway != gateway:
            raise settings.SettingsError("the configuration is for %s, not for %s" % (staged.gateway, gateway))
    except settings.SettingsError as e:
        _say({"error": str(e)})
        return
    trial.put_in_force()
    _store().remove("floor")  # the time of provisioning takes its place: the one who holds the cable is trusted
    _say(
        {
            "gateway": gateway,
            "kid": binascii.hexlify(cose.kid(p256.public_key(_store().get(identity.SIGN_KEY)))).decode(),
        }
    )


def _store():
    import esp32

    return Store(esp32.NVS("trygg"))


def _say(value):
    print(json.dumps(value))
