"""Run configs: plain nested dicts, read from a file, overridden on the command line.

A config names one experiment. `schema` of every section is the keyword signature of the function
that reads it, so a typo is found before any work, by name.
"""

import ast
import copy
import difflib
import importlib.util
import inspect
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any

from aigc_jax import kinds, renamed, seeds
from aigc_jax.ranges import at_least, below, between, needs, only_with, up_to

MESH = {"data": -1, "fsdp": 1, "tensor": 1}
# Reading a stored run, whose state is held whole, needs no rules, and none of a stranger's choice.
UNDIVIDED = {"sharding": "fully_sharded", "sharding_rules": ()}


def run(
    *,
    seed: Annotated[int, between(0, seeds.RANGE[-1])] = 0,
    steps: Annotated[int, at_least(1)] = 1000,
    batch_size: Annotated[int, at_least(1)] = 64,
    accumulate: Annotated[int, at_least(1)] = 1,
    steps_per_call: Annotated[int, at_least(0, "chosen")] = 0,
    precision: str = "float32",
    deterministic: bool = False,
    parallel: str = "jit",
    mesh: Mapping[str, int] = MESH,
    sharding: Annotated[str, only_with("parallel", "jit")] = "fully_sharded",
    sharding_rules: Annotated[tuple, only_with("parallel", "jit")] = (),
    ema_decay: Annotated[float, below(1)] = 0.0,
    ema_networks: Annotated[tuple[str, ...], needs("ema_decay")] = (),
    init_from: str = "",
    init_params: Annotated[tuple[str, ...], needs("init_from")] = (),
    freeze: tuple[str, ...] = (),
    log_every: Annotated[int, at_least(1)] = 50,
    eval_every: Annotated[int, at_least(1)] = 500,
    eval_batches: Annotated[int, at_least(0, "all")] = 0,
    save_every: Annotated[int, at_least(1)] = 500,
    keep_last: Annotated[int, at_least(1)] = 2,
    keep_best: str = "",
    keep_best_mode: str = "",
    keep_every: Annotated[int, at_least(0, "none")] = 0,
    max_bad_steps: Annotated[int, at_least(1)] = 10,
    max_rollbacks: Annotated[int, at_least(0)] = 3,
    rollback_lr_scale: Annotated[float, up_to(1), needs("max_rollbacks")] = 0.5,
    heartbeat_seconds: Annotated[int, at_least(2)] = 60,
    stall_seconds: Annotated[int, at_least(0, "no limit")] = 1800,
    num_samples: Annotated[int, at_least(1)] = 64,
    profile_steps: str = "",
) -> None:
    """The schema of a config's top level, beside its sections.

    Args:
      seed: feeds initial values, noise, data order, evaluation and samples.
      steps: updates in all.
      batch_size: examples of one update over all devices.
      accumulate: microbatches of one update, held in memory one at a time.
      steps_per_call: updates per dispatch; 0 chooses: 1 on a CPU or with streamed data, else the
        most that divides the numbers of steps below, up to 20.
      precision: "float32" or "bfloat16" compute; parameters stay float32.
      deterministic: on a GPU, only kernels that give the same bits every time.
      parallel: "jit" (any mesh) or "pmap" (data-parallel).
      mesh: devices along each axis; -1 is all that remain.
      sharding: how the mesh divides the state: "fully_sharded", "tensor_parallel" or your own
        "module:function".
      sharding_rules: pairs (path regex, spec) that go before those; a spec names for each dimension
        of the array an axis of the mesh, several, or None.
      ema_decay: decay of the averaged parameters, 0 keeps none.
      ema_networks: the networks that are averaged; () is all that sampling uses.
      init_from: workdir of a run to start from.
      init_params: path regexes of what is loaded from it; () is everything, which must fit.
      freeze: path regexes of parameters that stay as they are.
      log_every, eval_every, save_every: steps between rows, evaluations, checkpoints.
      eval_batches: batches of the evaluation split to use, 0 is all.
      keep_last: checkpoints kept; beside them the best by the metric `keep_best`
        ("" keeps none), and those of every multiple of `keep_every` steps (0: none).
      keep_best_mode: whether the "min" or the "max" of that metric is best; "" is what is known of
        it, and must be given of a metric of which nothing is.
      max_bad_steps: steps with something not finite, which are skipped, in a row before the run
        goes back to the checkpoint before them and on with later data.
      max_rollbacks: how often it may go back before it stops.
      rollback_lr_scale: what every learning rate is multiplied with each time.
      heartbeat_seconds: a process not heard of for so long ends the others.
      stall_seconds: a step, evaluation or save longer than this ends the process; 0 is no limit.
      num_samples: samples drawn at every evaluation.
      profile_steps: "A:B" writes a profiler trace of steps A to B.
    """


def schema(function: Callable, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """{name: default} of the keyword parameters that a config may set.

    A type stands where there is no default, and a union such as `int | None` where it is None.
    """
    parameters = inspect.signature(function).parameters.values()
    chosen = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in set(leave_out)]
    return {p.name: _default_or_type(p) for p in chosen}


def _default_or_type(parameter: inspect.Parameter) -> Any:
    if parameter.default is not None and parameter.default is not parameter.empty:
        return parameter.default
    annotation = kinds.annotation_of(parameter)
    alternatives = kinds.members(annotation)
    # Only plain types can be checked with `isinstance`.
    plain = all(type(one) is type for one in alternatives)
    kind = annotation if plain else object
    return kind | None if parameter.default is None else kind


def load(spec: str) -> dict[str, Any]:
    """The config of "file.py", "file.py:argument" or a stored "config.json".

    Raises:
      ValueError: if the file does not exist, has no `get_config` or no such argument.
    """
    path, argument = file_and_argument(spec)
    if not pathlib.Path(path).is_file():
        raise ValueError(f"--config={spec}: no such file; give a .py with get_config, or a .json")
    if path.endswith(".json"):
        return _stored(path)
    if not path.endswith(".py"):
        raise ValueError(f"--config={spec}: must be a .py with get_config, or a .json")
    module_spec = importlib.util.spec_from_file_location("aigc_jax_config", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ValueError(f"--config={spec}: {path} has no function get_config(argument)")
    config = module.get_config(argument)
    config = config.to_dict() if hasattr(config, "to_dict") else copy.deepcopy(config)
    if not isinstance(config, Mapping):
        raise ValueError(f"--config={spec}: get_config gives {config!r}; it must be a dict")
    return config


def file_and_argument(spec: str) -> tuple[str, str]:
    """("file.py", "argument") of "file.py:argument"; a file may have colons in its name."""
    ends = [len(spec), *(i for i in reversed(range(len(spec))) if spec[i] == ":")]
    there = (end for end in ends if pathlib.Path(spec[:end]).is_file())
    end = next(there, ends[-1])
    return spec[:end], spec[end + 1 :]


def _stored(path: str) -> dict[str, Any]:
    try:
        stored = json.loads(pathlib.Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"--config={path}: is not JSON ({error})") from None
    config = stored.get("config", stored) if isinstance(stored, Mapping) else stored
    if not isinstance(config, Mapping):
        raise ValueError(f"--config={path}: must be an object, such as the config.json of a run")
    return renamed.config(config)


def variant(
    config: Mapping[str, Any], argument: str, others: Iterable[str] = (), **data: Any
) -> dict[str, Any]:
    """`config` itself, or for the argument "test" the same model on `data` for a few steps.

    `data` names an embedded set of the same modality, so that ":test" runs in seconds anywhere.
    `others` are the arguments that `config` was already made for.

    Raises:
      ValueError: for any other argument.
    """
    if not argument or argument in others:
        return dict(config)
    if argument != "test":
        raise ValueError(unknown(f"the config's argument = {argument!r}", ["test", *others]))
    few = dict(steps=4, batch_size=8, log_every=1, eval_every=2, save_every=2)
    return {**config, **few, "num_samples": 4, "eval_batches": 2, "data": data}


def unknown(key: str, known: Iterable[str]) -> str:
    """The message for a name that is not there: the nearest one, and all of them.

    `key` ends in that name: "config.stepps", or "config.parallel = 'jitt'".
    """
    known = sorted(known)
    name = key.rpartition(" = ")[2].strip("'") if " = " in key else key.rpartition(".")[2]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{key}: unknown{hint} Accepted: {', '.join(known) or 'nothing'}"


def fill(section: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`section` completed from `defaults`, as `schema` gives them.

    Raises:
      ValueError: for a key that `defaults` lacks, a value of another type, or one that is missing.
    """
    if not isinstance(section, Mapping):
        raise ValueError(f"{where} = {section!r}: must be a dict")
    for key in section:
        if key not in defaults:
            raise ValueError(unknown(f"{where}.{key}", defaults))
    filled = {}
    for key, default in defaults.items():
        if key in section:
            filled[key] = typed(section[key], default, f"{where}.{key}")
        elif isinstance(default, type):
            raise ValueError(f"{where}.{key}: must be given, and be of type {default.__name__}")
        else:
            filled[key] = None if isinstance(default, UnionType) else copy.deepcopy(default)
    return filled


def typed(value: Any, default: Any, key: str) -> Any:
    """`value` as the type of `default`, or as the type `default`; None stands for any.

    An int may stand for a float, a list for a tuple.

    Raises:
      ValueError: if it is of another type.
    """
    if default is None:
        return value
    if isinstance(default, Mapping) and isinstance(value, Mapping):
        return fill(value, default, key) if default else dict(value)
    kind = default if isinstance(default, type | UnionType) else type(default)
    if isinstance(value, kind) and not (isinstance(value, bool) and kind in (int, int | None)):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(0.0, kind):
        return float(value)
    if isinstance(value, list) and isinstance((), kind):
        return tuple(value)
    name = kind.__name__ if isinstance(kind, type) else kind
    example = "" if default is kind else f", e.g. {default!r}"
    raise ValueError(f"{key} = {value!r}: must be of type {name}{example}")


def parse(text: str, default: Any, key: str) -> Any:
    """The value of a command-line override, read as the type of what it replaces."""
    if isinstance(default, str):
        return text
    if isinstance(default, bool) and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if value is None:
        return None
    if isinstance(default, tuple) and not isinstance(value, list | tuple):
        value = tuple(kinds.split(text))
    return typed(value, default, key)


def profiled_steps(spec: str) -> tuple[int, int] | None:
    """(A, B) of "A:B", None of "".

    Raises:
      ValueError: if it is not two numbers in order.
    """
    if not spec:
        return None
    first, _, last = spec.partition(":")
    if not (first.isdecimal() and last.isdecimal() and int(first) < int(last)):
        raise ValueError(f"config.profile_steps = {spec!r}: must be A:B with A < B, e.g. 10:20")
    return int(first), int(last)
