"""What arrives on the topic `command`: who signed it says what it is (protocols/commands.md).

The root signs trust lists, a key with the role *configuration* configurations, one with the role *command* commands, one
with the role *receipt* requests.
Invariant
  TP-CMD-002  nothing is parsed before its signature has been verified with a key that holds the role for it
"""

from micropython import const

from gateway import cbor, cose

_COMMAND = const(0)
_CONFIGURATION = const(1)
_TRUST = const(2)
_REQUEST = const(3)
_ROLE_RECEIPT = const(1)
_ROLE_COMMAND = const(2)
_ROLE_CONFIGURATION = const(8)


async def verified(gateway, envelope, work_off):
    """`work_off(steps)` runs a generator in the loop. (kind, content, envelope) once a key that may sign such has been found to have signed it.

    Kind: 0 command, 1 configuration, 2 trust list, 3 request. Raises ValueError.
    """
    kid = cose.parse(envelope)[0]
    root = _read("root.pub")
    candidates = []
    if kid == cose.kid(root):
        candidates.append((_TRUST, b"trygg/1/trust", root))
    # The list in force was verified at the start.
    for known, roles, public in cbor.decode(cose.parse(_read("trust.cbor"))[2])[2]:
        if known == kid and roles & _ROLE_CONFIGURATION:
            candidates.append((_CONFIGURATION, b"trygg/1/config", public))
        if known == kid and roles & (_ROLE_COMMAND | _ROLE_RECEIPT):
            kind = _COMMAND if roles & _ROLE_COMMAND else _REQUEST
            candidates.append((kind, ("trygg/1/%s/command" % gateway).encode(), public))
    error = cose.COSEError("unknown_key")
    for kind, aad, public in candidates:
        try:
            _, payload = await work_off(cose.verify1_steps(envelope, aad, {kid: public}))
            return kind, cbor.decode(payload), envelope
        except cose.COSEError as e:
            error = e
    raise error


def _read(name):
    with open("/trygg/" + name, "rb") as f:
        return f.read()
