"""Under which options an evaluation was made: only equal ones are used again, or compared.

What numbers of several runs may differ in beside the model is in their metrics' own words. A stored
evaluation says all options, and those of a file or function with what was in it.
"""

import argparse
import hashlib
import inspect
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from aigc_jax import names

VERSION = 3  # of what the numbers mean: raised when one is measured in another way


def of(
    flags: argparse.Namespace, step: int, checkpoint: str, sampling: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of an evaluation, as they stand in its `metrics.json`.

    Args:
      flags: of the command.
      step: of the checkpoint.
      checkpoint: the digest of what it holds, see `checkpoint.digest`.
      sampling: the section of the run's config.

    Raises:
      ValueError: the features or weights are not there.
    """
    weights = flags.inception_weights
    if weights and not pathlib.Path(weights).is_file():
        raise ValueError(f"--inception_weights={weights}: is no file")
    chosen = {
        "version": VERSION,
        "step": step,
        "checkpoint": checkpoint,
        "seed": flags.seed,
        "parameters": "raw" if flags.noema else "averaged where the run keeps averages",
        "samples": flags.samples,
        "iw_samples": flags.iw_samples,
        "features": [flags.features, _code(flags.features)] if flags.features else [],
        "inception_weights": [pathlib.Path(weights).name, _sha256(weights)] if weights else [],
        "sampling": sampling,
    }
    return json.loads(json.dumps(chosen))


def reusable(content: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether a stored evaluation is complete and was made under the same options.

    One that does not say its options, as those of earlier versions, is neither.
    """
    return bool(content) and content.get("protocol") == wanted and content.get("remaining") == []


def words(
    flags: argparse.Namespace, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> tuple[str, str]:
    """(what metrics of the model say of its parameters, what those of samples say of the sampler).

    Only what differs from the default is said: samplers of different models have other options.
    """
    raw = "; raw parameters, not averaged ones" if flags.noema else ""
    changed = {k: v for k, v in options.items() if v != defaults[k]}
    said = ", ".join(f"{name} = {value}" for name, value in changed.items())
    return raw, f"; sampled with {said}" if said else ""


def _code(function: str) -> str:
    """The digest of the file that a function is defined in."""
    try:
        path = inspect.getsourcefile(inspect.unwrap(names.find(function, (), "--features")))
    except TypeError:  # a class's instance or a built-in function has no file
        return ""
    return _sha256(path) if path else ""


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
