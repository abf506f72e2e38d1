"""What provisioning left in /trygg: trust anchor, trust list, signed configuration, certificates. Nothing here is secret.

Config payload, COSE_Sign1 by a key with the role *configuration*, aad b"trygg/1/config":
{1: gateway, 2: version, 3: [[broker host, port]..], 4: provisioned UTC ms, 5: grace of a fall ms, 6: sensor placement,
 7: location of the gateway (SCAIP lco), 8: heartbeat s, ? 9: [[time server host, port]..]}."""

import os
from collections import namedtuple

from micropython import const

from gateway import cbor, cose, identity, p256

_FOLDER = "/trygg"
FILES = ("root.pub", "trust.cbor", "config.cbor", "tls.der", "ca.der")
_MAX_BYTES = const(4096)
_CONFIG_AAD = b"trygg/1/config"


class SettingsError(ValueError):
    """The gateway cannot work with what it was given; the text says what to do."""


# A plain tuple: it does not keep this module in memory. brokers, time_servers: [(host, port)]; receipt_keys: {kid: public65};
# sign_key: 32 bytes.
Settings = namedtuple(
    "Settings",
    (
        "gateway",
        "version",
        "brokers",
        "provisioned_ms",
        "grace_ms",
        "placement",
        "location",
        "heartbeat_s",
        "time_servers",
        "receipt_keys",
        "sign_key",
    ),
)


def read(folder, store):
    """What is in `folder`, all signatures checked, with the secrets that `store` keeps. Raises SettingsError.

    (Settings, (certificate, key, authority of the broker)); the latter for TLS, as DER.
    """
    files = {name: _read(folder + "/" + name) for name in FILES}
    try:
        trust = identity.trust_list(files["trust.cbor"], files["root.pub"], 0)
        _, payload = cose.verify1(files["config.cbor"], _CONFIG_AAD, trust.keys(identity.CONFIGURATION))
        config = cbor.decode(payload)
        fields = [config[key] for key in range(1, 9)]
        fields.append(config.get(9, ()))
        for i in (2, 8):
            fields[i] = [(host, port) for host, port in fields[i]] or ()
        wrong = [name for name, sound in _checks(*fields) if not sound]
    except (ValueError, KeyError, TypeError) as e:
        raise SettingsError("trust list or configuration refused (%s): provision the gateway again" % e)
    if wrong:
        raise SettingsError("configuration refused (%s): provision the gateway again" % wrong[0])
    sign_key, tls_key = store.get(identity.SIGN_KEY), store.get(identity.TLS_KEY)
    if tls_key is None or sign_key is None or p256.public_key(tls_key) not in files["tls.der"]:
        raise SettingsError("the certificate is not for the key of this gateway: provision the gateway again")
    tls = files["tls.der"], identity.private_key_der(tls_key), files["ca.der"]
    return Settings(*fields, trust.keys(identity.RECEIPT), sign_key), tls


def load(store):
    """(phase, *what `read` gives) of what is in force; see trial for the phase, 0 for none. Raises SettingsError.

    Settings on trial that cannot be read give way to the last good ones.
    """
    if not store.get("trial") and "trygg" in os.listdir("/"):
        return (0,) + read(_FOLDER, store)
    from gateway import trial

    phase = trial.resume(store)
    try:
        return (phase,) + read(_FOLDER, store)
    except SettingsError:
        if phase != trial.TRIAL:
            raise
    trial.back(store, trial.REFUSED)
    return (trial.REFUSED,) + read(_FOLDER, store)


def _checks(gateway, version, brokers, provisioned_ms, grace_ms, placement, location, heartbeat_s, time_servers):
    """What each field must be for the gateway to work with it."""
    numbers = version, provisioned_ms, grace_ms, location, heartbeat_s
    yield "numbers", all(type(number) is int and number >= 0 for number in numbers)
    yield "gateway", type(gateway) is str and 4 <= len(gateway) <= 24
    servers = brokers + list(time_servers)
    sound = [type(host) is str and 0 < len(host) < 254 and type(port) is int for host, port in servers]
    yield "brokers", 0 < len(brokers) <= 4 and len(time_servers) <= 4
    yield "servers", all(sound) and all(0 < port < 65536 for _, port in servers)
    yield "grace", grace_ms <= 60_000
    yield "placement", placement in ("waist", "pocket", "pendant")
    yield "location", location <= 999
    yield "heartbeat", 0 < heartbeat_s <= 3600


def _read(path):
    try:
        if os.stat(path)[6] > _MAX_BYTES:
            raise SettingsError("%s is too long: provision the gateway again" % path)
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        raise SettingsError("not provisioned (%s is missing): run `tryggport provision`" % path)
