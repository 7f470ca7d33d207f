"""Whether a checkpoint is that of a run, and its state in the form that the run has today."""

import pathlib
from collections.abc import Iterable, Mapping

import jax

from aigc_jax import renamed
from aigc_jax.core import PyTree, path_name
from aigc_jax.storage.stored import described_leaves

LISTED = 20  # differences that an error spells out


def check_target(path: pathlib.Path, stored: Mapping[str, Mapping], target: PyTree) -> list[str]:
    """The leaves of `target` that a checkpoint lacks since they came later; it must hold all else.

    Raises:
      ValueError: listing what is missing, what is extra, and what has another shape or dtype.
    """
    stored = {renamed.leaf(name): leaf for name, leaf in stored.items()}
    wanted, lines, later = described_leaves(target), [], []
    text = lambda leaf: f"{leaf['dtype']}{leaf['shape']}"
    for name in sorted(wanted.keys() | stored.keys()):
        here, there = wanted.get(name), stored.get(name)
        if there is None and _came_later(name, stored):
            later.append(name)
        elif there is None:
            lines.append(f"{name}: missing there, {text(here)} here")
        elif here is None:
            lines.append(f"{name}: {text(there)} there, not a part of this run")
        elif text(here) != text(there):
            lines.append(f"{name}: {text(there)} there, {text(here)} here")
    if lines:
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        raise ValueError(
            f"{path}: is the state of another run; {len(lines)} of its leaves differ:\n  "
            + "\n  ".join(lines[:LISTED] + more)
        )
    return later


def _came_later(name: str, stored: Iterable[str]) -> bool:
    """Whether a leaf belongs to a field or collection of which nothing is stored.

    Those are entries of `guard` and `extra`, networks of `frozen`, and the collections of a network
    in `mutable`; what a run learns, `params` and all that follows them, is never made up.
    """
    parts = name.split("/")
    field = parts[: {"guard": 2, "extra": 2, "frozen": 2, "mutable": 3}.get(parts[0], 0)]
    return bool(field) and not any(other.split("/")[: len(field)] == field for other in stored)


def assembled(target: PyTree, found: Mapping[str, jax.Array], later: PyTree | None) -> PyTree:
    """`found` under its names of today in the structure of `target`, what it lacks from `later`."""
    there = {renamed.leaf(name): array for name, array in found.items()}
    pick = lambda where, leaf: there.get(path_name(where), leaf)
    return jax.tree_util.tree_map_with_path(pick, target if later is None else later)
