"""What to do about a connection that failed, by what mbedTLS and the network say of it."""

import time

_CLOCK = " (the gateway's clock shows %04d-%02d-%02d)"
_ADVICE = (
    ("not correctly signed", "another authority's broker; check the address, or provision the gateway for this one"),
    ("has expired", "renew the broker's certificate" + _CLOCK),
    (
        "starts in the future",
        "the gateway's clock is behind; let it reach a time server, or provision it again" + _CLOCK,
    ),
    ("-202", "no name server answers; check the network"),
    ("does not match", "the broker's certificate is for another name; check the address"),
)


def failed(app, reason, log):
    """A connection of the gateway.app.App has ended with the exception `reason`: `log` gets why in one line, with advice where
    there is some, and the clock is looked after where that may help."""
    text = " ".join(str(reason).split())
    said = ": ".join([text] + [advice for sign, advice in _ADVICE if sign in text])
    log("mqtt: " + said.replace(_CLOCK, _CLOCK % time.gmtime()[:3]))
    # Each path has its turn first: one that lets the gateway in brings a receipt with the time.
    each = not app.paths.path or "certificate validity" in text
    if each and (app.clock.back_ms is not None or app.clock.base_ms is None):
        from gateway import sntp

        sntp.after_failure(text, app.clock, app.config.time_servers, log, app.client.kick)
