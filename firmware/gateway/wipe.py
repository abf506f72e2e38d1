"""Back to how it left the factory: papers, journal and keys erased, through power cuts (TP-CMD-015).

`begin` leaves a mark; the power-on that follows erases everything and takes the mark away last. What is erased in NVS is not
found again by the firmware, but stays readable on the chip until its page is reused.
"""

from gateway import identity, trial
from gateway.trace import step

MARK = "wipe"
_NAMES = (identity.TLS_KEY, identity.SIGN_KEY, "journal", "orders", "asked", "trial", "culprit", "floor", "home")


def begin(store):
    """From here on nothing keeps the gateway from being wiped."""
    store.put(MARK, b"1")


def finish(store, bdev):
    """Erases everything. `bdev`: the journal's partition; its blocks take 45…400 ms each."""
    for folder in (trial.FOLDER, trial.STAGED, trial.OLD):
        trial.remove(folder)
    step("wipe.papers")
    for name in _NAMES:
        store.remove(name)
    step("wipe.keys")
    for number in range(bdev.ioctl(4, 0)):
        bdev.ioctl(6, number)
    step("wipe.journal")
    store.remove(MARK)
