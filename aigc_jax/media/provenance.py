"""Marks in every written sample: that it is generated, and by which run."""

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CHUNK = "aigc_jax"  # the key of a PNG's text chunk and the name of an array in an npz file


def mark(*, run: str, step: int, config_digest: str, seed: int, **how: Any) -> dict[str, Any]:
    """What stands in every sample of one call of the sampler.

    `how` is all else that they depend on: "parameters" ("averaged" or "raw"), the sampler's
    "options", the "prompt", the "head" if it is not the sampler, and what that head read.
    """
    return {
        **how,
        "generated": True,
        "run": run,
        "step": int(step),
        "config_digest": config_digest,
        "seed": int(seed),
        "software": "aigc_jax",
    }


def of_sample(
    provenance: Mapping[str, Any], each: Mapping[str, Sequence], index: int
) -> dict[str, Any]:
    """The mark of sample `index`, of which `each` {name: values [N]} says more."""
    own = {name: np.asarray(values[index]).item() for name, values in each.items()}
    return {**provenance, "index": index, **own}


def stems(num: int) -> list[str]:
    """The names of the files of so many samples, without their endings: "000", "001", ..."""
    digits = max(3, len(str(num - 1)))
    return [f"{i:0{digits}}" for i in range(num)]


def sha256(content: bytes) -> str:
    """What says in a mark beside a file whose mark it is."""
    return hashlib.sha256(content).hexdigest()


def to_text(provenance: Mapping[str, Any]) -> str:
    """JSON with sorted keys, so that equal marks are equal bytes."""
    return json.dumps(provenance, sort_keys=True, ensure_ascii=False)


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The mark of a written `.png` or `.npz`, or that of a text in the JSON file beside it.

    Raises:
      ValueError: the file carries no mark.
    """
    path = pathlib.Path(path)
    readers = {".png": _read_png, ".npz": _read_npz}
    text = readers.get(path.suffix, _read_beside)(path)
    if text is None:
        raise ValueError(
            f"{path} carries no mark of aigc_jax; accepted are PNG and npz files that it wrote, "
            "and texts with their JSON file beside them"
        )
    return json.loads(text)


def _read_png(path: pathlib.Path) -> str | None:
    from PIL import Image

    with Image.open(path) as image:
        image.load()  # text chunks may stand behind the pixels
        return image.info.get(CHUNK)


def _read_npz(path: pathlib.Path) -> str | None:
    with np.load(path, allow_pickle=False) as arrays:
        return str(arrays[CHUNK]) if CHUNK in arrays else None


def _read_beside(path: pathlib.Path) -> str | None:
    beside = path.with_suffix(".json")
    return beside.read_text(encoding="utf-8") if beside.is_file() else None


def check_writable(folder: str | os.PathLike) -> pathlib.Path:
    """Makes the folder if need be and tries to write in it, before any work is done.

    Raises:
      OSError: names the folder that cannot be written.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise OSError(
            f"output folder {str(folder)!r} cannot be written ({error.strerror}); accepted is a "
            "folder that may be written, or a path where one can be made"
        ) from error
