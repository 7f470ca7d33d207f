"""Room for pictures while they are decoded, shared by all threads, or processes, that decode.

However many of them there are, together they hold no more pixels than one picture of the largest
accepted size, or 12 million, a photograph, for each of them.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

PHOTOGRAPH = 12_000_000  # pixels
MAX_PIXELS = 89_478_485  # of a picture, from where Pillow warns: 256 MiB of colour
UNIT = 2**20  # pixels that are counted at a time; smaller pictures never wait


class Room(NamedTuple):
    """A semaphore of `units`, and the lock under which one picture takes all that it needs."""

    lock: Any
    free: Any
    units: int


def of(workers: int, source: Any = threading) -> Room:
    """Room for so many threads, or processes if `source` is their multiprocessing context."""
    units = max(MAX_PIXELS, PHOTOGRAPH * workers) // UNIT
    return Room(source.Lock(), source.Semaphore(units), units)


_room = of(os.cpu_count() or 1)


def share(room: Room) -> None:
    """Has this process use `room`, for what a new process is started with."""
    global _room
    _room = room


@contextlib.contextmanager
def held(pixels: int) -> Iterator[None]:
    """Waits until there is room for so many pixels, or for all there is room for, and takes it."""
    room = _room
    units = min(pixels // UNIT, room.units)
    with room.lock:  # two pictures that each wait for the other's part would wait for ever
        for _ in range(units):
            room.free.acquire()
    try:
        yield
    finally:
        for _ in range(units):
            room.free.release()
