"""What to do about a connection that failed, by what mbedTLS and the network say of it."""

_ADVICE = (
    ("not correctly signed", "another authority's broker; check the address, or provision the gateway for this one"),
    ("has expired", "renew the broker's certificate"),
    ("starts in the future", "the gateway's clock is behind; provision it again"),
    ("-202", "no name server answers; check the network"),
    ("does not match", "the broker's certificate is for another name; check the address"),
)


def sentence(reason):
    """The exception in one line, and advice where there is some."""
    text = " ".join(str(reason).split())
    return ": ".join([text] + [advice for sign, advice in _ADVICE if sign in text])
