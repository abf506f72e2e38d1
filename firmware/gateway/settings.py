"""What provisioning left in /trygg: trust anchor, trust list, signed configuration, certificates. Nothing here is secret.

Config payload, COSE_Sign1 by a key with the role *configuration*, aad b"trygg/1/config":
{1: gateway, 2: version, 3: [[broker host, port]..], 4: provisioned UTC ms, 5: grace of a fall ms, 6: sensor placement,
 7: location of the gateway (SCAIP lco), 8: heartbeat s, ? 9: [[time server host, port]..]}."""

import os
from collections import namedtuple

from micropython import const

from gateway import cbor, cose, identity, p256

FOLDER = "/trygg"
STAGED = "/trygg.new"
_OLD = "/trygg.old"
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
    except (ValueError, KeyError, TypeError) as e:
        raise SettingsError("trust list or configuration refused (%s): provision the gateway again" % e)
    sign_key, tls_key = store.get(identity.SIGN_KEY), store.get(identity.TLS_KEY)
    if tls_key is None or sign_key is None or p256.public_key(tls_key) not in files["tls.der"]:
        raise SettingsError("the certificate is not for the key of this gateway: provision the gateway again")
    tls = files["tls.der"], identity.private_key_der(tls_key), files["ca.der"]
    return Settings(*fields, trust.keys(identity.RECEIPT), sign_key), tls


def load(store):
    """`read` of what is in force. A change that a power cut stopped half-way is undone first. Raises SettingsError."""
    if not exists(FOLDER) and exists(_OLD):
        os.rename(_OLD, FOLDER)
    return read(FOLDER, store)


def put_in_force():
    """Swaps the staged folder with the one in force; a power cut leaves the old or the new one whole."""
    remove(_OLD)
    if exists(FOLDER):
        os.rename(FOLDER, _OLD)
    os.rename(STAGED, FOLDER)
    remove(_OLD)


def exists(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def remove(folder):
    """Removes a flat folder, if there is one."""
    if exists(folder):
        for name in os.listdir(folder):
            os.remove(folder + "/" + name)
        os.rmdir(folder)


def _read(path):
    try:
        if os.stat(path)[6] > _MAX_BYTES:
            raise SettingsError("%s is too long: provision the gateway again" % path)
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        raise SettingsError("not provisioned (%s is missing): run `tryggport provision`" % path)
