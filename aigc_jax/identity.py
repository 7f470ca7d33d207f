"""What makes a run this run: its config without what only says when, where and on how much."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# A run may be continued with other values of these: they change when or where things happen.
INTERVALS = (
    *("steps", "log_every", "eval_every", "save_every", "eval_batches", "profile_steps"),
    *("keep_last", "keep_best", "keep_best_mode", "keep_every", "num_samples", "sampling"),
    *("heartbeat_seconds", "stall_seconds", "mesh", "sharding", "sharding_rules"),
    *("data.manual_dir", "data.data_dir", "data.max_memory_gib", "data.max_rejected"),
)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"algorithm.beta": 1.0, ...}, with lists for tuples as JSON has them."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run this run: its flat config without intervals, totals and places."""
    flat = flatten(config)
    return {
        k: v for k, v in flat.items() if k not in INTERVALS and k.split(".")[0] not in INTERVALS
    }


def digest(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Sha256 of what of `identity` differs from the flat `defaults`, 16 hexadecimal digits.

    So an option that a later version adds changes no digest where it is at its default.
    """
    chosen = {k: v for k, v in identity(config).items() if k not in defaults or v != defaults[k]}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines "key: old -> new" of what makes `new` another run than `old`."""
    a, b = (json.loads(json.dumps(identity(c))) for c in (old, new))
    missing = "(absent)"
    keys = sorted(k for k in a | b if a.get(k, missing) != b.get(k, missing))
    return [f"{k}: {a.get(k, missing)} -> {b.get(k, missing)}" for k in keys]
