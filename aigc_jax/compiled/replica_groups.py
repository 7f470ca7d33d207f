"""Which devices talk to each other in a collective, from the three notations of XLA."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

LISTS = re.compile(r"replica_groups=\{(.*?\})?\}")
IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
MESH = re.compile(
    r"replica_groups=@?mesh\[([^\]]*)\](?:,? device_ids=\(([^)]*(?:\([^)]*\))?)\))? \{([^}]*)\}"
)
PAIRS = re.compile(r"source_target_pairs=\{(.*?\})?\}")
Groups = tuple[tuple[int, ...], ...]


def of(attributes: str, partitions: int) -> Groups:
    """The groups of partition numbers that an instruction's attributes name; all in one if none.

    - `{{0,1},{2,3}}`, and the pairs of a permutation, of which those to oneself are left out;
    - `[2,4]<=[4,2]T(1,0)`: 0 .. 7 as [4, 2], transposed, cut into 2 groups of 4;
    - `mesh['a'=4,'b'=2] {'a'}`: 0 .. 7 as [4, 2] and groups along "a"; the mesh may say its
      `device_ids`, and an axis be cut: `'a':(2)2` is the second of two factors of "a".
    """
    if match := IOTA.search(attributes):
        count, size = _numbers(match[1])
        ids = _iota(match[2], match[3]).reshape(count, size)
        return tuple(map(tuple, ids.tolist()))
    if match := MESH.search(attributes):
        return _along_mesh(*match.groups())
    if match := PAIRS.search(attributes):
        return tuple(pair for pair in _lists(match[1]) if pair[0] != pair[1])
    match = LISTS.search(attributes)
    return _lists(match[1] if match else "") or (tuple(range(partitions)),)


def axes(groups: Groups, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The axes of a mesh, sizes in order, along which the members of a group differ."""
    members = np.unravel_index(np.asarray(groups), tuple(mesh.values()))
    return tuple(
        axis for axis, places in zip(mesh, members, strict=True) if (places != places[:, :1]).any()
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _lists(text: str | None) -> Groups:
    return tuple(tuple(_numbers(group)) for group in re.findall(r"\{([\d, ]+)\}", text or ""))


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """0 .. n - 1 in the given shape, its axes transposed."""
    shape = _numbers(sizes)
    ids = np.arange(math.prod(shape)).reshape(shape)
    return ids.transpose(_numbers(order)) if order else ids


def _along_mesh(sizes: str, device_ids: str | None, chosen: str) -> Groups:
    named = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", sizes)}
    cuts = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", chosen)
    if not device_ids:
        ids = np.arange(math.prod(named.values()))
    elif match := re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", device_ids):
        ids = _iota(match[1], match[2])
    else:
        ids = np.asarray(_numbers(device_ids))
    factors, along = _factors(named, cuts)
    ids = ids.reshape(factors)
    rest = [axis for axis in range(ids.ndim) if axis not in along]
    size = math.prod(factors[axis] for axis in along)
    return tuple(map(tuple, ids.transpose(*rest, *along).reshape(-1, size).tolist()))


def _factors(
    named: Mapping[str, int], cuts: Sequence[tuple[str, str, str]]
) -> tuple[list[int], list[int]]:
    """The sizes of the mesh with cut axes in their factors, and which of these are chosen."""
    factors, along = [], []
    for name, size in named.items():
        bounds, spans = {1, size}, []
        for other, before, part in cuts:
            if other == name:
                span = (int(before), int(before) * int(part)) if part else (1, size)
                bounds |= set(span)
                spans.append(span)
        for low, high in itertools.pairwise(sorted(bounds)) if size > 1 else [(1, 1)]:
            if any(start <= low and high <= end for start, end in spans):
                along.append(len(factors))
            factors.append(high // low)
    return factors, along
