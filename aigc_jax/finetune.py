"""Starting from another run's parameters and tokenizer."""

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from aigc_jax import checkpoint, vocabulary
from aigc_jax.core import PyTree, State, path_name
from aigc_jax.names import is_code


def tokenizer_of(workdir: str, data: str = "") -> Any:
    """The tokenizer of a pretrained run; None without a run, or of a run on images.

    `data` is `config.data.name`: a tokenizer of the user's own is imported only from its module.

    Raises:
      ValueError: there is no checkpoint, or the tokenizer is of another module.
    """
    if not workdir:
        return None
    if not checkpoint.steps(pathlib.Path(workdir)):
        raise ValueError(f"config.init_from = {workdir!r}: has no checkpoint; train there first")
    record = checkpoint.read_run(pathlib.Path(workdir))
    module = data.partition(":")[0] if is_code(data) else ""
    content = record["tokenizer"]
    if vocabulary.own(content) not in ("", module):
        raise ValueError(
            f"config.init_from = {workdir!r}: its tokenizer {content['name']!r} is code that the "
            f"stored run names; it is used only with data of that module, not with {data!r}"
        )
    return vocabulary.stored(record, (module,))


def start_from(state: State, workdir: str, patterns: Sequence[str]) -> State:
    """`state` with the pretrained parameters and statistics of `workdir` in place of its own.

    Averaged values are taken where the run kept averages. With `patterns`, parameters that match
    one of these path regexes are loaded and the others stay fresh; without, all are loaded. The
    averages of `state` start from the result.

    Raises:
      ValueError: listing the parameters that the run lacks or has in another shape.
    """
    loaded = checkpoint.read_arrays(pathlib.Path(workdir))
    params = _replaced(state.params, _best(loaded, "params"), workdir, patterns)
    mutable = _replaced(state.mutable, _best(loaded, "mutable"), workdir, patterns)
    state = state.replace(params=params, mutable=mutable)
    if state.ema:
        copied = lambda kind, new: {k: _floats(new[k]) for k in state.ema[kind]}
        state = state.replace(
            ema={"params": copied("params", params), "mutable": copied("mutable", mutable)}
        )
    return state


def _floats(tree: PyTree) -> PyTree:
    """A copy of the floating-point leaves, None for others, as `core.with_ema` keeps them."""
    return jax.tree.map(
        lambda x: jnp.copy(x) if jnp.issubdtype(x.dtype, jnp.floating) else None, tree
    )


def _best(loaded: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """{path: array} of "params" or "mutable", averages first."""
    raw = {k.partition("/")[2]: v for k, v in loaded.items() if k.startswith(f"{kind}/")}
    prefix = f"ema/{kind}/"
    return raw | {k[len(prefix) :]: v for k, v in loaded.items() if k.startswith(prefix)}


def _replaced(tree: PyTree, found: Mapping, workdir: str, patterns: Sequence[str]) -> PyTree:
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    wrong, new = [], []
    for path, leaf in leaves:
        name = path_name(path)
        if patterns and not any(re.search(p, name) for p in patterns):
            new.append(leaf)
            continue
        stored = found.get(name)
        if stored is None or stored.shape != leaf.shape or stored.dtype != leaf.dtype:
            shape = "absent" if stored is None else f"{stored.dtype}{list(stored.shape)}"
            wrong.append(f"{name}: {shape} there, {leaf.dtype}{list(leaf.shape)} here")
            new.append(leaf)
        else:
            new.append(jax.device_put(stored, leaf.sharding))
    if wrong:
        raise ValueError(
            f"config.init_from = {workdir!r}: these parameters do not fit; make the networks equal "
            "or name in config.init_params what shall be loaded:\n  " + "\n  ".join(wrong)
        )
    return jax.tree_util.tree_unflatten(structure, new)
