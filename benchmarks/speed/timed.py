"""What a workload hands to the harness, the same for our program and for its PyTorch twin."""

from collections.abc import Callable
from typing import NamedTuple


class Timed(NamedTuple):
    """A built and initialised workload, ready to be timed."""

    steps: Callable[[int], None]  # runs that many steps and waits for the device
    parameters: int  # numbers that are trained, or read in decoding
    flops: float = 0.0  # of one step's matrix products and convolutions; 0 where not counted
