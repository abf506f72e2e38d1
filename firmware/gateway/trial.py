"""Which settings are in force: swapped in whole, on trial until a receipt has come over them, else the last good ones return.

Idea: each step is one rename or one write of the mark in NVS, so a power cut lies between two of them and `resume` goes on
from there. FOLDER is in force, STAGED is being written, OLD holds the last good settings during a trial.

  begin   STAGED is whole ─> mark TRIAL ─> FOLDER to OLD ─> STAGED to FOLDER ─> restart
  keep    mark KEPT ─> OLD removed ─> told: no mark
  back    mark BACK ─> FOLDER removed ─> OLD to FOLDER ─> mark RETURNED or REFUSED ─> told: no mark
Invariants
  TP-CMD-009  after any power cut FOLDER is, once `resume` has run, the old or the new settings whole
  TP-CMD-010  a trial sees _BOOTS power-ons at most, so power cuts do not prolong it for ever
"""

import os

from micropython import const

from gateway.trace import step

FOLDER = "/trygg"
STAGED = "/trygg.new"
OLD = "/trygg.old"
TRIAL = const(1)
KEPT = const(2)
BACK = const(3)
RETURNED = const(4)
REFUSED = const(5)
_MARK = "trial"
_BOOTS = const(3)  # TP-BND-021


def mark(store):
    """(phase, power-ons left, kind, version) of the change under way, or None. Kind as in orders: what a result answers."""
    kept = store.get(_MARK)
    return kept and (kept[0], kept[1], kept[2], int.from_bytes(kept[3:], "big"))


def begin(store, kind, version):
    """Puts what is staged in force, on trial. The gateway is to restart at once."""
    remove(OLD)  # what provisioning left
    step("trial.begin")
    _put(store, TRIAL, _BOOTS, kind, version)
    step("trial.marked")
    _swap()
    step("trial.swapped")


def resume(store):
    """At power-on: finishes what a power cut interrupted, counts the power-ons of a trial. Returns the phase, 0 for none."""
    found = mark(store)
    if found is None:
        if not exists(FOLDER) and exists(OLD):  # provisioning was cut between its two renames
            os.rename(OLD, FOLDER)
        return 0
    phase, boots, kind, version = found
    if phase == TRIAL:
        _swap()
        if boots:
            _put(store, TRIAL, boots - 1, kind, version)
            return TRIAL
        phase = BACK
    if phase == BACK:
        back(store)
        return RETURNED
    if phase == KEPT:
        remove(OLD)
    return phase


def keep(store):
    """A receipt has come over the settings on trial: they stay."""
    step("keep.begin")
    _, _, kind, version = mark(store)
    _put(store, KEPT, 0, kind, version)
    step("keep.marked")
    remove(OLD)
    step("keep.end")


def back(store, phase=RETURNED):
    """Returns the last good settings. The gateway is to restart when it runs on those on trial. `phase`: RETURNED or REFUSED."""
    step("back.begin")
    _, _, kind, version = mark(store)
    _put(store, BACK, 0, kind, version)
    step("back.marked")
    if exists(OLD):
        remove(FOLDER)
        step("back.removed")
        os.rename(OLD, FOLDER)
    step("back.renamed")
    _put(store, phase, 0, kind, version)
    step("back.end")


def end(app, in_flight=None, first=0, last=0):
    """Ends the trial that `app` runs on: well when a receipt is for an event in flight, else only without any receipt."""
    if in_flight is None:
        import machine

        back(app.store)
        machine.reset()
    elif app.trial == TRIAL and any(first <= seq <= last for seq in in_flight):
        keep(app.store)
        app.trial = KEPT


def abandon(store):
    """Before provisioning stages anything: a trial ends with the last good settings, and nobody is told."""
    found = mark(store)
    if found and found[0] in (TRIAL, BACK):
        if found[0] == TRIAL:
            _swap()
        back(store)
    store.remove(_MARK)


def put_in_force():
    """Provisioning's swap, for good; a power cut leaves the old or the new settings whole."""
    remove(OLD)
    if exists(FOLDER):
        os.rename(FOLDER, OLD)
    os.rename(STAGED, FOLDER)
    remove(OLD)


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


def _swap():
    """Both renames, or those that a power cut has left to do."""
    if exists(STAGED):
        if exists(FOLDER):
            os.rename(FOLDER, OLD)
        step("trial.aside")
        os.rename(STAGED, FOLDER)


def _put(store, phase, boots, kind, version):
    store.put(_MARK, bytes((phase, boots, kind)) + version.to_bytes(8, "big"))
