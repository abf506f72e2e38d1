"""How things stand with the paths to the brokers, at the start. `gateway.moves` has the rules."""

from gateway import bounds


def begin(brokers):
    """The state of the paths to `brokers`, [(host, port)], the primary first. Its class has no code, so nothing of this module stays."""
    paths = type("Paths", (), {})()
    paths.brokers = brokers
    paths.address = [brokers[0]]  # where the connection or the next attempt leads, for the opener
    paths.path = 0  # its number
    paths.last = 0  # the path of the connection before
    paths.testing = None  # a path that has to prove itself
    paths.failed = {}  # path: seq of the fault that tells of it
    paths.arrived_ms = None  # None: not connected, or leaving
    paths.on_purpose = paths.leaving = False
    paths.refused = False  # the broker has nobody to give an alarm to
    paths.look_ms = 0  # when to move on, or to call the test failed
    paths.moved_ms = -bounds.SWITCH_MS  # for an alarm
    paths.switch_ms = bounds.SWITCH_MS
    paths.wait_ms = bounds.PATH_RETURN_MS[0]
    return paths
