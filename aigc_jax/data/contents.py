"""What a folder of the user's holds: images, texts or MIDI files, by the endings of its names."""

import collections
import os
import pathlib
from collections.abc import Iterable

from aigc_jax import refusals
from aigc_jax.data import layout
from aigc_jax.data.dirt import shown
from aigc_jax.data.inspection import IMAGES, MUSIC, TEXTS, Kind

KINDS = (IMAGES, TEXTS, MUSIC)
# Names of texts that are about a data set of whatever kind, and no part of it.
ABOUT = ("authors", "changelog", "citation", "copying", "licence", "license", "notice", "readme")


def counted(paths: Iterable[str | os.PathLike]) -> dict[Kind, int]:
    """How many of the paths end as each kind does, the most frequent first, none that is absent."""
    endings = collections.Counter(pathlib.Path(path).suffix.lower() for path in paths)
    counts = {kind: sum(endings[suffix] for suffix in kind.suffixes) for kind in KINDS}
    found = [kind for kind in KINDS if counts[kind]]
    return {kind: counts[kind] for kind in sorted(found, key=counts.get, reverse=True)}


def overlooked(root: pathlib.Path, taken: Iterable[pathlib.Path]) -> str:
    """A phrase that counts the files of known kinds below a folder that are not taken; "": none."""
    names = set(map(str, taken))
    counts = counted(path for path in layout.files_below(root) if path not in names)
    told = [f"{count:,} {kind.name}" for kind, count in counts.items()]
    return f"not taken are {' and '.join(told)}" if told else ""


def kind_of(folder: str | os.PathLike, max_rejected: float) -> Kind:
    """The kind of data set that a folder is, for training; images where nothing speaks for any.

    A readme or licence does not count, one file of another kind, or a share of `max_rejected`, is
    overlooked.

    Raises:
      ValueError: it holds several kinds; with their counts.
    """
    root = pathlib.Path(folder)
    paths = [pathlib.Path(path) for path in layout.files_below(root)]
    counts = counted(p for p in paths if p.stem.lower() not in ABOUT) or counted(paths)
    total, kind = sum(counts.values()), next(iter(counts), IMAGES)
    if total - counts.get(kind, 0) <= max(1, max_rejected * total):
        return kind
    held = ", ".join(f"{count:,} {kind.name}" for kind, count in counts.items())
    refusals.refuse(
        f"data.name = {shown(root)!r}: holds {held}; accepted is a folder of one kind. Put each "
        f"into its own, or let python -m aigc_jax.data.clean {shown(root)} --out=CLEAN take over "
        f"the {kind.name} alone; data.max_rejected is the share of others that is overlooked"
    )
    return IMAGES if IMAGES in counts else kind
