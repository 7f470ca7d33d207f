"""Arrays computed once and kept as .npy files, so that later runs read them and nothing else."""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


def digest(content: Any) -> str:
    """16 hexadecimal digits that identify a JSON value."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[None]:
    """Holds the lock file `path`; other processes of this machine wait for it."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
        yield


def _write(folder: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes beside `folder` and renames, so that a folder of that name is always complete."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
        whole = pathlib.Path(part) / "arrays"
        whole.mkdir()
        for name, array in arrays.items():
            np.save(whole / f"{name}.npy", array)
        os.rename(whole, folder)


def cached(
    folder: str | os.PathLike, make: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of `make()`, kept as `folder/<name>.npy` and read from there when it exists.

    Of processes that ask for one folder at the same time one makes them and the others wait.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        with exclusive(folder.parent / f".{folder.name}.lock"):
            if not folder.is_dir():
                _write(folder, make())
    return {path.stem: np.load(path, allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
