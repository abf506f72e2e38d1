"""What provisioning left in /trygg: trust anchor, trust list, signed configuration, certificates. Nothing here is secret.

Config payload, COSE_Sign1 by a key with the role *configuration*, aad b"trygg/1/config":
{1: gateway, 2: version, 3: [[broker host, port]..], 4: provisioned UTC ms, 5: grace of a fall ms, 6: sensor placement,
 7: location of the gateway (SCAIP lco), 8: heartbeat s}."""

import os

from gateway import cbor, cose, identity

FOLDER = "/trygg"
STAGED = "/trygg.new"
_OLD = "/trygg.old"
FILES = ("root.pub", "trust.cbor", "config.cbor", "tls.der", "ca.der")
_MAX_BYTES = 4096
_CONFIG_AAD = b"trygg/1/config"


class SettingsError(Exception):
    """The gateway cannot work with what it was given; the text says what to do."""


class Settings:
    """Fields: gateway, version, brokers [(host, port)], provisioned_ms, grace_ms, placement, location, heartbeat_s, receipt_keys
    {kid: public65}, tls_certificate (DER), broker_ca (DER)."""

    def __init__(self, folder):
        files = {name: _read(folder + "/" + name) for name in FILES}
        try:
            trust = identity.trust_list(files["trust.cbor"], files["root.pub"], 0)
        except ValueError as e:
            raise SettingsError("trust list refused (%s): provision the gateway again" % e)
        try:
            _, payload = cose.verify1(files["config.cbor"], _CONFIG_AAD, trust.keys(identity.CONFIGURATION))
            config = cbor.decode(payload)
            self.gateway = config[1]
            self.version = config[2]
            self.brokers = [(host, port) for host, port in config[3]]
            self.provisioned_ms = config[4]
            self.grace_ms = config[5]
            self.placement = config[6]
            self.location = config[7]
            self.heartbeat_s = config[8]
        except (ValueError, KeyError, TypeError) as e:
            raise SettingsError("configuration refused (%s): provision the gateway again" % e)
        self.receipt_keys = trust.keys(identity.RECEIPT)
        self.tls_certificate = files["tls.der"]
        self.broker_ca = files["ca.der"]


def load():
    """The settings in force. A change that a power cut stopped half-way is undone first. Raises SettingsError."""
    if not exists(FOLDER) and exists(_OLD):
        os.rename(_OLD, FOLDER)
    return Settings(FOLDER)


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
