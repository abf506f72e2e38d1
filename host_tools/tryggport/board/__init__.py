"""The virtual board: the real MicroPython on hardware that lives in this process. Linux and macOS."""

from tryggport.board.host import Event
from tryggport.board.pins import Outputs
from tryggport.board.virtual import VirtualBoard

__all__ = ["Event", "Outputs", "VirtualBoard"]
