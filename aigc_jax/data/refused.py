"""The files of a folder that can't be used, and when they are too many."""

import dataclasses
import pathlib
from collections.abc import Mapping

from aigc_jax.data.dirt import shown

SHOWN = 5  # files that a line lists


@dataclasses.dataclass(frozen=True)
class Refused:
    """Files by their names inside a folder and why each can't be used, and how many there may be.

    `unusable` are known from the beginning; `damaged` are those that only decoding shows.
    """

    root: pathlib.Path
    total: int
    share: float
    unusable: Mapping[str, str]
    damaged: dict[str, str] = dataclasses.field(default_factory=dict)
    what: str = "image folder"

    def add(self, damaged: Mapping[str, str]) -> None:
        """Takes note of damage. Raises what `check` does."""
        self.damaged.update(damaged)
        self.check()

    def count(self) -> int:
        """How many there are of both."""
        return len(self.unusable) + len(self.damaged)

    def check(self) -> None:
        """Raises a ValueError when all together are more than the share."""
        if self.count() > self.share * self.total:
            raise ValueError(
                f"{self.summary()}. data.max_rejected = {self.share} is the share that may be left "
                f"out; python -m aigc_jax.data.clean {shown(self.root)} --out=CLEAN writes a clean "
                "copy and a report"
            )

    def summary(self) -> str:
        """One line: how many files are left out, and the first of them with their reasons."""
        found = {**self.unusable, **dict(self.damaged)}  # other threads may add meanwhile
        listed = [f"{shown(name)} {reason}" for name, reason in list(found.items())[:SHOWN]]
        more = [f"and {len(found) - SHOWN:,} more"] if len(found) > SHOWN else []
        share = 100 * len(found) / self.total
        return (
            f"{self.what} {shown(self.root)}: {len(found):,} of {self.total:,} files "
            f"({share:.2g} %) can't be used: " + "; ".join(listed + more)
        )
