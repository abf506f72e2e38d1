"""Where `gateway.trace.step` tells of each step: the story may cut the power there."""

listener = None


def step(name, seq=0):
    if listener:
        listener(name)
