"""Settings change whole or not at all: every flash operation and every write of NVS cut, on LittleFS over the NOR model."""

import os

import vfs
from gateway import app, trial
from memory_store import Memory
from nor import BlockDevice, Nor, PowerCut

FILES = ("root.pub", "trust.cbor", "config.cbor", "tls.der", "ca.der")
HEAPSIZE = "8M"
SIZE = 64 * 4096
ROOT = "/flash"
BOOTS = 3


class Store(Memory):
    """NVS whose writes count as operations of their own: `cut` says before or after which one the power goes."""

    def __init__(self):
        super().__init__()
        self.cut = None
        self.count = 0

    def _operation(self, do):
        self.count += 1
        if self.cut == (self.count, "before"):
            raise PowerCut("nvs")
        do()
        if self.cut == (self.count, "after"):
            raise PowerCut("nvs")

    def put(self, name, value):
        self._operation(lambda: Memory.put(self, name, value))

    def remove(self, name):
        self._operation(lambda: Memory.remove(self, name))


class Chip:
    """A NOR that tells LittleFS of a power cut by an error: an exception would leave its C code half-way."""

    def __init__(self, nor):
        self._bdev = BlockDevice(nor)

    def _do(self, function, *arguments):
        try:
            return function(*arguments)
        except PowerCut:
            return -5

    def readblocks(self, n, buf, off=0):
        return self._do(self._bdev.readblocks, n, buf, off)

    def writeblocks(self, n, buf, off=0):
        return self._do(self._bdev.writeblocks, n, buf, off)

    def ioctl(self, op, arg):
        return self._do(self._bdev.ioctl, op, arg)


class Board:
    """A LittleFS with settings in force and others staged."""

    def __init__(self, image=None):
        self.nor = Nor(SIZE)
        self.store = Store()
        self.bdev = Chip(self.nor)
        if image:
            self.nor.copy_from(image)
        else:
            vfs.VfsLfs2.mkfs(self.bdev)
            self.mount()
            self.write(trial.FOLDER, b"old")
            self.unmount()

    def mount(self):
        vfs.mount(vfs.VfsLfs2(self.bdev), ROOT)

    def unmount(self):
        vfs.umount(ROOT)

    def write(self, folder, what):
        os.mkdir(folder)
        for name in FILES:
            with open(folder + "/" + name, "wb") as f:
                f.write(what + name.encode() + bytes(600))

    def whole(self, folder):
        """b"old" or b"new" when every file of the folder is that and complete."""
        found = set()
        for name in FILES:
            with open(folder + "/" + name, "rb") as f:
                content = f.read()
            assert content[3:] == name.encode() + bytes(600), (folder, name, len(content))
            found.add(content[:3])
        assert len(found) == 1, found
        return found.pop()


for _name, _folder in (("FOLDER", "/trygg"), ("STAGED", "/trygg.new"), ("OLD", "/trygg.old")):
    setattr(trial, _name, ROOT + _folder)


def change(board):
    """What orders does with a new configuration."""
    trial.remove(trial.STAGED)
    board.write(trial.STAGED, b"new")
    trial.begin(board.store, 1, 7)


def cuts(work, prepare=None):
    """Runs `work` on boards alike, each cut at another operation, and gives the board after its next power-on. NOR cuts are
    planned at the start, in the middle and at the end of each program."""
    prepared = Board()
    if prepare:
        prepared.mount()
        prepare(prepared)
        prepared.unmount()
    values, image = dict(prepared.store.values), prepared.nor
    for kind, places in (("flash", (0, 9, 4096)), ("nvs", ("before", "after"))):
        for place in places:
            operation = -1
            while True:
                operation += 1
                board = Board(image)
                board.store.values = dict(values)
                board.mount()
                if kind == "flash":
                    board.nor.plan_cut(operation, place)
                else:
                    board.store.cut = operation + 1, place
                try:
                    work(board)
                    happened = False
                except (PowerCut, OSError):
                    happened = True
                board.store.cut = None
                vfs.umount(ROOT)
                board.nor.power_on()
                if not happened:
                    break
                board.mount()
                yield board
                vfs.umount(ROOT)


def test_TP_CMD_009_a_cut_at_any_operation_of_the_change_leaves_old_or_new_whole():
    seen = {}
    for board in cuts(change):
        phase = trial.resume(board.store)
        what = board.whole(trial.FOLDER)
        assert (phase, what) in ((0, b"old"), (trial.TRIAL, b"new")), (phase, what)
        if phase == trial.TRIAL:
            assert board.whole(trial.OLD) == b"old", "the way back is there"
        seen[what] = seen.get(what, 0) + 1
    print("cuts of the change:", seen)
    assert seen[b"old"] > 50 and seen[b"new"] > 5


def test_TP_CMD_009_a_cut_at_any_operation_of_keeping_keeps_it_or_stays_on_trial():
    seen = {}
    for board in cuts(lambda board: trial.keep(board.store), change):
        phase = trial.resume(board.store)
        assert board.whole(trial.FOLDER) == b"new"
        assert phase in (trial.TRIAL, trial.KEPT)
        assert phase == trial.KEPT or board.whole(trial.OLD) == b"old"
        seen[phase] = seen.get(phase, 0) + 1
    print("cuts of keeping:", seen)
    assert seen[trial.KEPT] > 5 and seen[trial.TRIAL]


def test_TP_CMD_009_a_cut_at_any_operation_of_the_return_returns_or_stays_on_trial():
    seen = {}
    for board in cuts(lambda board: trial.back(board.store), change):
        phase = trial.resume(board.store)
        assert (phase, board.whole(trial.FOLDER)) in ((trial.TRIAL, b"new"), (trial.RETURNED, b"old"))
        seen[phase] = seen.get(phase, 0) + 1
    print("cuts of the return:", seen)
    assert seen[trial.RETURNED] > 5 and seen[trial.TRIAL]


def test_TP_CMD_009_a_cut_of_the_power_on_after_a_cut_is_harmless_too():
    def swap_half(board):
        trial.remove(trial.STAGED)
        board.write(trial.STAGED, b"new")
        trial._put(board.store, trial.TRIAL, BOOTS, 1, 7)
        os.rename(trial.FOLDER, trial.OLD)

    def back_half(board):
        change(board)
        trial._put(board.store, trial.BACK, 0, 1, 7)
        os.remove(trial.FOLDER + "/ca.der")

    for half, whole, phase in ((swap_half, b"new", trial.TRIAL), (back_half, b"old", trial.RETURNED)):
        count = 0
        for board in cuts(lambda board: trial.resume(board.store), half):
            assert trial.resume(board.store) == phase
            assert board.whole(trial.FOLDER) == whole
            count += 1
        assert count >= 5, count


def test_TP_CMD_010_TP_BND_021_power_cuts_do_not_prolong_a_trial_for_ever():
    board = Board()
    board.mount()
    change(board)
    phases = [trial.resume(board.store) for _ in range(BOOTS + 2)]
    assert phases == [trial.TRIAL] * BOOTS + [trial.RETURNED] * 2
    assert board.whole(trial.FOLDER) == b"old"
    assert trial.mark(board.store) == (trial.RETURNED, 0, 1, 7), "until the receiver knows"
    board.store.remove("trial")
    assert trial.resume(board.store) == 0
    board.unmount()


def test_TP_BND_020_a_trial_lasts_ten_minutes():
    assert app.TRIAL_MS == 600_000


class Busy:
    """A gateway that attends to an order."""

    def __init__(self):
        self.orders = ()
        self.working = True


def test_TP_BND_023_no_more_than_two_orders_wait():
    busy = Busy()
    for _ in range(3):
        app.App.work(busy, b"envelope")
    assert len(busy.orders) == 2


def test_TP_CMD_009_provisioning_ends_a_trial_with_the_last_good_settings():
    for work in (change, lambda board: trial._put(board.store, trial.KEPT, 0, 1, 7)):
        board = Board()
        board.mount()
        work(board)
        trial.abandon(board.store)
        assert board.whole(trial.FOLDER) == b"old" and trial.mark(board.store) is None
        board.write(trial.STAGED, b"new")
        trial.put_in_force()
        assert board.whole(trial.FOLDER) == b"new" and trial.resume(board.store) == 0
        board.unmount()
