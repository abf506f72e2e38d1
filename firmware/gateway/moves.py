"""When the one connection moves to another path, and whether each path has proven itself.

Idea: the paths form a ring, the first is the primary; memory has room for one TLS connection (protocols/decisions/0005). The
connection moves on for an alarm that nobody answers there, to test the next path, and to come back from one that is not the
primary. A path at which it has just arrived is tested end to end: an event goes out whose receipt must come back over it
(TP-WIR-032). The rules are pure: `paths` is what `gateway.paths.begin` returned, times are uptime in ms. Loaded when needed, then forgotten."""

from gateway import bounds, kinds


def following(paths):
    return (paths.path + 1) % len(paths.brokers)


def arrived(paths, now_ms):
    """Connected. Returns a path that was to be tested and could not be reached, or None."""
    failed = None
    if paths.testing is not None and paths.testing != paths.path:
        failed = _fail(paths)
    elif paths.path != paths.last:
        paths.testing = paths.path
    paths.last = paths.path
    paths.arrived_ms = now_ms
    paths.refused = False
    if paths.testing is not None:
        paths.look_ms = now_ms + bounds.PATH_PROOF_MS
    elif failed is None:
        paths.look_ms = now_ms + bounds.PATH_SOON_MS
    else:
        paths.look_ms = now_ms + _patience(paths)
    return failed


def lost(paths, now_ms, alarm):
    """An attempt or a connection has ended; `alarm`: one is waiting. True when the next attempt leads elsewhere."""
    since_ms = paths.arrived_ms
    paths.arrived_ms = None
    # A broker that was good until now is tried again first, unless someone waits for help.
    if not paths.leaving and since_ms is not None and not alarm and now_ms - since_ms > bounds.HANDSHAKE_MS:
        return False
    paths.leaving = False
    paths.path = following(paths)
    paths.address[0] = paths.brokers[paths.path]
    return len(paths.brokers) > 1


def proven(paths, now_ms):
    """The receipt of the test has come over the path under test."""
    paths.failed.pop(paths.testing, None)
    if not paths.testing:
        paths.wait_ms = bounds.PATH_RETURN_MS[0]
        paths.look_ms = now_ms + (bounds.PATH_RETRY_MS if paths.failed else bounds.PATH_DAY_MS)
    else:
        paths.look_ms = now_ms + (0 if paths.on_purpose and 0 not in paths.failed else _patience(paths))
    paths.testing = None


def unproven(paths, now_ms):
    """The path on which the test has run out of time, or None. Told once."""
    if paths.testing is None or paths.arrived_ms is None or now_ms < paths.look_ms:
        return None
    if following(paths) in paths.failed:
        paths.look_ms = now_ms + _patience(paths)
    return _fail(paths)


def leave(paths, now_ms, alarm_ms):
    """True when the connection is to be left for the next path now. `alarm_ms`: since when a published alarm has waited, or None."""
    if paths.arrived_ms is None or len(paths.brokers) < 2:
        return False
    if alarm_ms is None:
        if now_ms < paths.look_ms or paths.testing is not None:
            return False
        paths.testing = following(paths)
    else:
        if paths.refused:
            waited_ms, patience_ms = now_ms - paths.moved_ms, paths.switch_ms
        else:
            waited_ms = now_ms - max(alarm_ms, paths.arrived_ms)
            patience_ms = max(paths.switch_ms, bounds.SECOND_PATH_MS)
        if waited_ms < patience_ms:
            return False
        paths.switch_ms = min(2 * paths.switch_ms, bounds.PATH_RETURN_MS[1])
        paths.moved_ms = now_ms
        paths.testing = None
    paths.on_purpose = alarm_ms is None
    paths.leaving = True
    paths.arrived_ms = None
    return True


def _fail(paths):
    path, paths.testing = paths.testing, None
    paths.failed.setdefault(path)
    return path


def _patience(paths):
    """How long to stay although another path is to be tried again."""
    if not paths.path:
        return bounds.PATH_RETRY_MS
    wait_ms = paths.wait_ms
    paths.wait_ms = min(2 * wait_ms, bounds.PATH_RETURN_MS[1])
    return wait_ms


# What the application does about it; `app` is gateway.app.App.


def on_arrival(app):
    failed = arrived(app.paths, app.clock.uptime_ms())
    if failed is not None:
        _tell_failed(app, failed)
    if app.paths.testing is not None and app.uplink.awaited is None:
        app.uplink.awaited = app.record(kinds.PATH, first=True, data={kinds.DATA_PATH: app.paths.path})


def on_loss(app):
    waiting = app.journal.stats()["pending_alarms"]
    if waiting and app.home.online:
        app.client.kick()
    if lost(app.paths, app.clock.uptime_ms(), waiting):
        app.uplink.moved()
        app.client.forget()


def on_proof(app):
    path = app.paths.testing
    if path is not None:
        seq = app.paths.failed.get(path)
        proven(app.paths, app.clock.uptime_ms())
        if seq is not None:
            app.record(kinds.FAULT, kinds.STATE_CLEARED, ref=seq, data=_fault(path))
        if not app.paths.failed:
            app.home.faults.discard(kinds.FAULT_PATH)


def on_refused(app):
    """The broker has nobody to give an alarm to."""
    app.paths.refused = True
    look(app)


def look(app):
    """Moves the connection to the next path when it is time to."""
    now_ms = app.clock.uptime_ms()
    failed = unproven(app.paths, now_ms)
    if failed is not None:
        _tell_failed(app, failed)
    if leave(app.paths, now_ms, app.uplink.alarm_ms):
        app.client.reconnect()


def _tell_failed(app, path):
    if app.paths.failed[path] is None:
        app.paths.failed[path] = app.record(kinds.FAULT, data=_fault(path))
        app.home.faults.add(kinds.FAULT_PATH)


def _fault(path):
    return {kinds.DATA_FAULT: kinds.FAULT_PATH, kinds.DATA_PATH: path}
