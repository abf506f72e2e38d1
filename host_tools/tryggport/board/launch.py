"""Becomes the interpreter of a virtual board: takes the terminal on stdin as its own, the hub as descriptor 3, and executes argv[2:]."""

import fcntl
import os
import sys
import termios


def main() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    hub = int(sys.argv[1])
    if hub != 3:
        os.dup2(hub, 3)
        os.close(hub)
    os.set_inheritable(3, True)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


main()
