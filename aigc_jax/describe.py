"""`train.py --describe`: what a config stands for, before any data is prepared or code compiled."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from aigc_jax import (
    build,
    checks,
    core,
    describe_compiled,
    families,
    finetune,
    flops,
    names,
    parallel,
    samples,
    schedules,
    sharding,
    stored_config,
)

SIDES = {2: "lr", 3: "lrl", 5: "llrrr"}  # of tables by their number of columns
CLASSES = 12  # names that are listed


def report(config: Mapping[str, Any], compiled: bool = False) -> str:
    """The run, its data, objects, parameters, operations per step and memory, as one text.

    Of the data only names, sizes and the vocabulary are read; the update is traced. Only if it is
    to be `compiled` too, what it moves and holds on each device follows; see `describe_compiled`.

    Raises:
      ValueError: for a config that cannot work, as training would.
    """
    checks.check(config)
    if compiled:
        describe_compiled.simulate(config["mesh"])
    mesh = parallel.make_mesh(config["mesh"])
    parallel.check_batch(config["batch_size"], config["accumulate"], mesh)
    tokenizer = finetune.tokenizer_of(config["init_from"], config["data"]["name"])
    run = build.run(config, build.describe_data(config, tokenizer))
    if config["sampling"]:
        samples.check(run)
    state = jax.eval_shape(run.algorithm.init, _key())
    shardings = parallel.state_shardings(state, mesh, sharding.rules_of(config))
    counted, count = update_flops(run)
    sections = {
        "run": _columns(_run(config, mesh)),
        "data": _columns(_data(run)),
        "objects": _columns(_objects(run, state)),
        "parameters": _table(_parameters(state.params, shardings.params), "llrl"),
        "compute": _columns(_compute(counted, count)),
        "memory of the state in bytes": _table(_memory(state, shardings), "lrr"),
    }
    if compiled:
        found = describe_compiled.sections(run, mesh, state, shardings, counted)
        sections |= {title: _table(rows, SIDES[len(rows[0])]) for title, rows in found.items()}
    return "\n\n".join(f"{title}\n{body}" for title, body in sections.items())


def _key() -> jax.ShapeDtypeStruct:
    """A PRNG key in the abstract."""
    return jax.eval_shape(lambda: jax.random.key(0))


def _run(config: Mapping[str, Any], mesh: jax.sharding.Mesh) -> list[tuple[str, str]]:
    devices = list(mesh.devices.flat)
    axes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    per_call = config["steps_per_call"] or "chosen at the start"
    return [
        ("name", f"{config['algorithm']['name']} on {config['data']['name']}"),
        ("digest", stored_config.digest_of(config)),
        ("devices", f"{len(devices)} x {devices[0].device_kind}"),
        ("mesh", f"{axes}, by {config['parallel']}"),
        ("precision", f"{config['precision']} compute, float32 parameters"),
        ("batch", f"{config['batch_size']:,} examples, accumulate {config['accumulate']}"),
        (
            "steps",
            f"{config['steps']:,}, steps_per_call {per_call}",
        ),
    ]


def _data(run: build.Run) -> list[tuple[str, str]]:
    info = run.info
    rows = [("name", info.name)]
    rows += [(split, f"{size:,} examples per epoch") for split, size in info.sizes.items()]
    rows += [("evaluated on", info.eval_split)]
    rows += [(key, f"{info.dtypes[key]} {list(shape)}") for key, shape in info.shapes.items()]
    listed = ", ".join(info.class_names[:CLASSES]) + ", ..." * (len(info.class_names) > CLASSES)
    named = f"{info.num_classes}: {listed}" if listed else str(info.num_classes)
    rows += [("classes", named)] if info.num_classes else []
    return rows + ([("vocabulary", str(info.vocab))] if info.vocab else [])


def _objects(run: build.Run, state: core.State) -> list[tuple[str, str]]:
    """The algorithm, its options and its optimisers, every name resolved."""
    config = run.config
    module, make = families.family(config["algorithm"]["name"])
    section = {k: v for k, v in config["algorithm"].items() if k != "name"}
    offered = build.offered_by(config, run.example)
    options = names.resolve(section, getattr(module, "NAMES", {}), offered, "config.algorithm")
    rows = [("algorithm", f"{make.__module__}.{make.__qualname__}")]
    rows += [(name, one_line(value)) for name, value in _scheduled(options).items()]
    for name, section in config["optimizer"].items():
        rows.append((f"{name} optimizer", _optimizer(section, config["steps"])))
    augmented = {k: v for k, v in config["augment"].items() if v}
    chosen = {k: config[k] for k in ("freeze", "init_from", "init_params")}
    rows += [(k, one_line(v)) for k, v in ({"augment": augmented} | chosen).items() if v]
    if state.ema:
        rows.append(("averages", f"{', '.join(state.ema['params'])}: {config['ema_decay']:g}"))
    return rows


def _optimizer(section: Mapping[str, Any], steps: int) -> str:
    """One line such as "adam(learning_rate=constant(0.001), b1=0.9)", without what is off."""
    where = {"learning_rate_schedule": schedules}
    options = names.resolve(section, where, {"steps": steps}, "config.optimizer")
    set_to = {k: v for k, v in _scheduled(options).items() if k != "name" and v}
    return _call(section["name"], (), set_to)


def _scheduled(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with every weight and its schedule as one call: constant(1.0)."""
    found = {k.removesuffix("_schedule"): k for k in options if k.endswith("_schedule")}
    return {
        k: functools.partial(options[found[k]], v) if k in found else v
        for k, v in options.items()
        if k not in found.values()
    }


def one_line(value: Any) -> str:
    """A resolved object in one line: networks with their fields, functions with what is bound."""
    if isinstance(value, nn.Module):
        fields = [name for name in value.__dataclass_fields__ if name not in ("parent", "name")]
        return _call(type(value), (), {name: getattr(value, name) for name in fields})
    if isinstance(value, functools.partial):
        return _call(value.func, value.args, value.keywords)
    if isinstance(value, Mapping):
        return ", ".join(f"{one_line(k)}: {one_line(v)}" for k, v in value.items()) or "none"
    if callable(value):
        # A closure such as an initialiser is known by the function that made it.
        return getattr(value, "__qualname__", repr(value)).split(".<locals>")[0]
    return value if isinstance(value, str) else repr(value)


def _call(function: Any, args: Sequence, keywords: Mapping[str, Any]) -> str:
    arguments = [one_line(v) for v in args] + [f"{k}={one_line(v)}" for k, v in keywords.items()]
    return f"{one_line(function)}({', '.join(arguments)})"


def _parameters(params: core.PyTree, shardings: core.PyTree) -> list[tuple[str, ...]]:
    """Path, shape, count and sharding of every parameter; totals by network and of all."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    rows = [("path", "shape", "count", "sharding")]
    for (path, leaf), where in zip(leaves, jax.tree.leaves(shardings), strict=True):
        spec = ", ".join(map(repr, where.spec))
        rows.append((core.path_name(path), str(list(leaf.shape)), f"{leaf.size:,}", f"P({spec})"))
    for name, part in [*params.items(), ("all", params)]:
        count = sum(leaf.size for leaf in jax.tree.leaves(part))
        rows.append((f"total {name}", "", f"{count:,}", ""))
    return rows


def update_flops(run: build.Run) -> tuple[flops.Flops, int]:
    """(operations of one update of the global batch, gathering left out; its examples)."""
    if run.config["parallel"] == "pmap":
        # Its devices' shares of the batch add up to the same update without axes to average over.
        run = build.run({**run.config, "parallel": "jit"}, run.info)
    state = jax.eval_shape(run.algorithm.init, _key())
    count = run.config["batch_size"] * run.algorithm.batches_per_step
    raw = build.raw_of(run.info, count)
    return flops.of(core.advance(run.algorithm, run.prepare), state, raw, _key()), count


def _compute(counted: flops.Flops, count: int) -> list[tuple[str, str]]:
    rows = [
        ("FLOPs per step", f"{counted.total:,}"),
        ("in products", f"{counted.matmul:,}, convolutions included"),
        ("elsewhere", f"{counted.other:,}, one per element"),
        ("per example", f"{counted.total // count:,}, of {count:,} examples per step"),
    ]
    loops = f"{counted.open_loops} of unknown length, each counted once"
    return rows + [("while loops", loops)] * bool(counted.open_loops)


def _memory(state: core.State, shardings: core.State) -> list[tuple[str, ...]]:
    """Bytes of every collection of the state, over all its parts and on one device."""
    rows, totals = [], np.zeros(2, np.int64)
    for field in dataclasses.fields(state):
        leaves = jax.tree.leaves(getattr(state, field.name))
        wheres = jax.tree.leaves(getattr(shardings, field.name))
        whole = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        shards = [
            parallel.bytes_on_device(leaf, where)
            for leaf, where in zip(leaves, wheres, strict=True)
        ]
        totals += whole, sum(shards)
        rows.append((field.name, whole, sum(shards)))
    rows = [(name, f"{whole:,}", f"{shard:,}") for name, whole, shard in rows if whole]
    whole, shard = totals
    return [("collection", "whole", "per device"), *rows, ("total", f"{whole:,}", f"{shard:,}")]


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    return _table(rows, "ll")


def _table(rows: Sequence[tuple[str, ...]], sides: str) -> str:
    """Rows as aligned columns; `sides` says "l" or "r" for each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = {"l": str.ljust, "r": str.rjust}
    lines = [
        "  ".join(align[side](*cell) for side, *cell in zip(sides, row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(f"  {line}".rstrip() for line in lines)
