"""How far a mesh divides the state: FSDP ends where arrays have no axis that it divides."""

from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding

from aigc_jax import build, core, parallel, sharding
from benchmarks.scaling import network
from benchmarks.scaling.predict import CHIP_COUNTS


def undivided(run: build.Run, mesh: str) -> dict[str, float]:
    """{number of chips: share of the state's bytes that "fsdp" leaves whole}, with no chip at hand.

    Where "fsdp" is of size 1 there is nothing to divide, and the share is 0.
    """
    state = core.shapes_of(run.algorithm)
    rules = sharding.rules_of(run.config)
    return {str(n): _share(state, network.MESHES[mesh](n), rules) for n in CHIP_COUNTS}


def _share(state: core.State, sizes: dict[str, int], rules: Any) -> float:
    if sizes["fsdp"] == 1:
        return 0.0
    mesh = AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * 3)
    places = jax.tree.leaves(parallel.state_shardings(state, mesh, rules))
    leaves = jax.tree.leaves(state)
    held = [leaf.size * leaf.dtype.itemsize for leaf in leaves]
    whole = [size for size, where in zip(held, places, strict=True) if not _is_divided(where)]
    return round(sum(whole) / sum(held), 6)


def _is_divided(where: NamedSharding) -> bool:
    return "fsdp" in jax.tree.leaves(tuple(where.spec))
