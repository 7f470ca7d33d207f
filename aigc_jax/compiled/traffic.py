"""Bytes that one step of a run moves between devices: what was compiled, and the least possible."""

import collections
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from aigc_jax import build, core, families, parallel
from aigc_jax.compiled.collectives import Collective


class Traffic(NamedTuple):
    """Communications of one kind along the same axes, in one step."""

    kind: str
    axes: tuple[str, ...]
    count: int
    bytes: int  # payload, see `collectives.of`
    sent: float  # by one device


def found(program: Iterable[Collective], mesh: Mapping[str, int]) -> list[Traffic]:
    """The collectives of a program, summed by kind and axes of the mesh, most bytes first."""
    rows = [Traffic(c.kind, c.axes(mesh), c.count, c.count * c.bytes, c.sent) for c in program]
    return _summed(rows)


def _summed(rows: Iterable[Traffic]) -> list[Traffic]:
    sums: dict = collections.defaultdict(lambda: (0, 0, 0.0))
    for kind, axes, *numbers in rows:
        sums[kind, axes] = tuple(map(operator.add, sums[kind, axes], numbers))
    found = [Traffic(*key, *numbers) for key, numbers in sums.items()]
    return sorted(found, key=lambda row: -row.sent)


def minimum(run: build.Run, shapes: core.State, shardings: core.State) -> list[Traffic]:
    """The least that the divided state of a step must move.

    For every update of a parameter: over the axes that divide it and the batch, its weights are
    gathered and its gradients scattered; over those that divide the batch alone, what is left of
    the gradients is summed. A matrix of a transformer that is divided over "tensor" sums, once a
    step, the activations of its other side. One number, the loss, is summed over the batch.
    """
    mesh = jax.tree.leaves(shardings)[0].mesh
    rows = []
    leaves = jax.tree_util.tree_leaves_with_path(shapes.params)
    for (path, leaf), where in zip(leaves, jax.tree.leaves(shardings.params), strict=True):
        name = core.path_name(path)
        updates = _updates(run, name.partition("/")[0])
        rows += _of_weights(leaf, where, updates)
        rows += _of_activations(run, name, leaf, where)
    ways = [axis for axis in core.BATCH if mesh.shape[axis] > 1]
    rows += _least("all-reduce", ways, jnp.dtype(jnp.float32).itemsize, mesh)
    return _summed(rows)


def _least(kind: str, axes: Iterable[str], size: int, mesh: Mesh, count: int = 1) -> list[Traffic]:
    """One row; none for nothing or over one device."""
    axes = tuple(axes)
    ways = math.prod(mesh.shape[axis] for axis in axes)
    if ways == 1 or not size:
        return []
    one = Collective(kind, count, size, ways, 1, "", "", ())
    return [Traffic(kind, axes, count, count * size, one.sent)]


def _of_weights(leaf: Any, where: NamedSharding, updates: int) -> list[Traffic]:
    mesh = where.mesh
    over = _axes(where)
    dividing = [axis for axis in core.BATCH if axis in over]
    others = [axis for axis in core.BATCH if axis not in over and mesh.shape[axis] > 1]
    shard = parallel.bytes_on_device(leaf, where)
    whole = shard * math.prod(mesh.shape[axis] for axis in dividing)
    rows = _least("all-gather", dividing, whole, mesh, updates)
    rows += _least("reduce-scatter", dividing, whole, mesh, updates)
    return rows + _least("all-reduce", others, shard, mesh, updates)


def _of_activations(run: build.Run, name: str, leaf: Any, where: NamedSharding) -> list[Traffic]:
    """Of a matrix divided over "tensor": tokens x its other side, for each layer that it stacks.

    A table of embeddings does so twice, as it is read and as it makes logits.
    """
    entries = list(where.spec) + [None] * (leaf.ndim - len(where.spec))
    split = [axis for axis, entry in enumerate(entries) if "tensor" in _names(entry)]
    if not split or leaf.ndim < 2 or "tokens" not in run.example.batch:
        return []
    batch, length = run.example.batch["tokens"].shape
    ways = math.prod(where.mesh.shape[axis] for axis in core.BATCH)
    width = leaf.shape[-1] if split[0] == leaf.ndim - 2 else leaf.shape[-2]
    times = math.prod(leaf.shape[:-2]) * (2 if name.endswith("embedding") else 1)
    size = batch // ways * (length - 1) * width * jnp.dtype(run.config["precision"]).itemsize
    return _least("all-reduce", ["tensor"], size, where.mesh, times)


def _names(entry: Any) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else entry or ()


def _axes(where: NamedSharding) -> set[str]:
    return {axis for entry in where.spec for axis in _names(entry) if where.mesh.shape[axis] > 1}


def _updates(run: build.Run, network: str) -> int:
    """How often one step updates a network."""
    module, _ = families.family(run.config["algorithm"]["name"])
    counted_by = getattr(module, "OPTIMIZERS", {}).get(network, "")
    return run.config["algorithm"][counted_by] if counted_by else 1
