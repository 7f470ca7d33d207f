"""What a run writes about itself, and whether a folder belongs to it."""

import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from aigc_jax import checkpoint, core, sharding, stored_config
from aigc_jax.data import relabelled, tokenizers
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.data.dirt import say
from aigc_jax.identity import differences, flatten

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Former(NamedTuple):
    """The run that a workdir holds already."""

    record: Mapping[str, Any]  # of its newest checkpoint
    lacking: Mapping[str, Any]  # {option: value} of those that came after it was stored


def about(
    config: Mapping[str, Any], dataset: Dataset, former: Former | None = None
) -> dict[str, Any]:
    """The record in `config.json` and in every checkpoint, enough to sample without the data.

    {"config", "digest", "filled", "commit", "versions", "device", "data": Info, "tokenizer"}. A
    run keeps the digest that it began with. "filled" are the options that were none when it began,
    and the values that they were given since.
    """
    tokenizer = dataset.tokenizer and tokenizers.to_json(dataset.tokenizer)
    before = former.record if former else {}
    record = {
        "config": config,
        "digest": before.get("digest") or stored_config.digest_of(config),
        "filled": before.get("filled", {}) | dict(former.lacking if former else {}),
        **circumstances(),
        "data": dataset.info._asdict(),
        "tokenizer": tokenizer,
    }
    return json.loads(json.dumps(record))


def info_of(record: Mapping[str, Any]) -> Info:
    """The facts about the data set of a stored run."""
    info = Info(**record["data"])
    return info._replace(class_names=tuple(info.class_names))


def circumstances() -> dict[str, Any]:
    """{"commit", "versions", "device"}: what a number needs beside it."""
    return {
        "commit": _commit(),
        "versions": {p: importlib.metadata.version(p) for p in PACKAGES}
        | {"python": platform.python_version()},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def _commit() -> str:
    """The commit of the project's checkout, "+changes" if it has uncommitted ones."""
    here = pathlib.Path(__file__).parent

    def git(*words):
        result = subprocess.run(
            ["git", "-C", str(here), *words], capture_output=True, text=True, check=False
        )
        return result.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit and commit + ("+changes" if git("status", "--porcelain") else "")
    except OSError:
        return ""


def write(workdir: pathlib.Path, record: Mapping[str, Any]) -> None:
    """Puts the record in place in one move."""
    temporary = workdir / "config.json.tmp"
    temporary.write_text(json.dumps(record, indent=1))
    temporary.replace(workdir / "config.json")


def former(workdir: pathlib.Path, config: Mapping[str, Any]) -> Former | None:
    """The run whose checkpoints a workdir holds, which only its own config may continue.

    Raises:
      ValueError: listing what differs.
    """
    record = _made_by(workdir)
    if record is None:
        return None
    then, lacking = _as_of_today(record["config"], config)
    lines = differences(then, config)
    if lines:
        raise ValueError(
            f"--workdir={workdir}: belongs to another config; give another folder or the old "
            "values:\n  " + "\n  ".join(lines)
        )
    newest = checkpoint.steps(workdir)[-1]
    if newest > config["steps"]:
        raise ValueError(
            f"config.steps = {config['steps']}: {workdir} is at step {newest} already; must be at "
            "least that"
        )
    return Former(record, lacking)


def continues(workdir: pathlib.Path, config: Mapping[str, Any]) -> bool:
    """Whether a workdir holds a run of this very config, that later rules need not stop."""
    record = _made_by(workdir)
    if record is None:
        return False
    return not differences(_as_of_today(record["config"], config)[0], config)


def _as_of_today(stored: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Mapping, Mapping]:
    """A stored config completed; code outside of the project only runs if `config` names it too."""
    texts = [value for value in flatten(config).values() if isinstance(value, str)]
    named = (text.partition(":")[0] for text in texts if ":" in text)  # "digits" is no module
    try:
        return stored_config.as_of_today(stored, set(named))
    except ValueError:  # of another version in more than what it lacks: compared as it is
        return stored, {}


def _made_by(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The record of what trained here, from its checkpoints: config.json is for people.

    None without any but that of step 0, which only shows that the place can be written to.
    """
    return checkpoint.last_record(workdir) if any(checkpoint.steps(workdir)) else None


def check_corpus(workdir: pathlib.Path, info: Info) -> None:
    """A run may only be continued on the very data it started with.

    What is told of the data now and was not when the run was stored is printed: how they are cut
    into examples may have changed, and the run goes on with that.

    Raises:
      ValueError: listing what differs.
    """
    old = _made_by(workdir)
    if old is None:
        return
    before, now = old["data"]["fingerprint"], json.loads(json.dumps(info.fingerprint))
    changed = [f"{k}: {before.get(k)} -> {now.get(k)}" for k in before if before[k] != now.get(k)]
    if changed:
        raise ValueError(
            f"config.data.name = {info.name!r}: is not the data that {workdir} was "
            "trained on; give another workdir or the old data:\n  " + "\n  ".join(changed)
        )
    new = [f"{k}: {v}" for k, v in now.items() if k not in before]
    if new and jax.process_index() == 0:
        print(f"note: new in {info.name} since {workdir} was trained so far: {'; '.join(new)}")


def as_begun(dataset: Dataset, record: Mapping[str, Any]) -> Dataset:
    """The data with its classes counted as in the record of a run; a line where that differs.

    Raises:
      ValueError: the classes have other names.
    """
    kept = relabelled.as_begun(dataset, info_of(record))
    if kept.info.class_names != dataset.info.class_names:
        names = kept.info.class_names
        say(f"classes keep the order that the run began with, which is not that of today: {names}")
    return kept


def announce(
    record: Mapping[str, Any], state: core.State, mesh: jax.sharding.Mesh, workdir: pathlib.Path
) -> str:
    """The first lines of a run: devices, mesh, parameters, batch, data, and where results go."""
    config, data = record["config"], record["data"]
    counts = {name: sum(x.size for x in jax.tree.leaves(net)) for name, net in state.params.items()}
    sizes = ", ".join(f"{split} {size:,}" for split, size in data["sizes"].items())
    left_out = f"; {data['rejected']:,} files left out" if data.get("rejected") else ""
    return "\n".join(
        (
            f"devices     {record['device']}, mesh {dict(mesh.shape)}, {config['parallel']}",
            "parameters  " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
            f"batch       {config['batch_size']} x {config['accumulate']} microbatches, "
            f"{config['steps']} steps, {config['precision']}",
            f"data        {data['name']}: {sizes}; evaluated on {data['eval_split']}{left_out}",
            *_held_whole(state.params, mesh),
            *_unsplit(config, state.params, mesh),
            f"results     {workdir} (from step {int(state.step)})",
        )
    )


def _unsplit(config: Mapping[str, Any], params: core.PyTree, mesh: jax.sharding.Mesh) -> list[str]:
    """A line on what the axis "tensor" should split and cannot, if there is anything."""
    ways, network = mesh.shape["tensor"], config["algorithm"].get("network_args", {})
    found = sharding.unsplit(params, mesh, sharding.rules_of(config))
    counts = {name: network[name] for name in ("heads", "kv_heads") if network.get(name)}
    found += [f"{name} = {n}" for name, n in counts.items() if ways > 1 and n % ways]
    if not found:
        return []
    return [f"not split   over tensor = {ways}, and exchanged at every step: {', '.join(found)}"]


def _held_whole(params: core.PyTree, mesh: jax.sharding.Mesh) -> list[str]:
    """A line on the parameters that the mesh should divide and does not, if there are any."""
    ways = {axis: mesh.shape[axis] for axis in ("fsdp", "tensor") if mesh.shape[axis] > 1}
    leaves = jax.tree_util.tree_leaves_with_path(params)
    large = [(core.path_name(path), x) for path, x in leaves if x.size >= sharding.MIN_SIZE]
    whole = {name: x.size for name, x in large if x.sharding.is_fully_replicated}
    if not ways or not whole:
        return []
    share = sum(whole.values()) / sum(x.size for _, x in leaves)
    named = ", ".join(sorted(whole, key=whole.get, reverse=True)[:3])
    return [
        f"whole       {share:.1%} of the parameters on every device: neither rules nor sizes "
        f"divide them over {ways}: {named}"
    ]
