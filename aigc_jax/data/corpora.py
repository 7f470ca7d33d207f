"""Texts in two parts: tiny_shakespeare, Python's own sources, or the user's own file or folder."""

import hashlib
import os
import pathlib
import platform
import sysconfig
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax import refusals
from aigc_jax.data import text_builders, text_file, text_folder
from aigc_jax.data.cache import cached
from aigc_jax.data.corpus import Corpus
from aigc_jax.data.dirt import Unusable

NOT_PYTHON_TEXT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib"}
SHAKESPEARE_CHARACTERS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def read(config: Mapping[str, Any]) -> Corpus:
    """The text that `config["name"]` names: a known set, or a path."""
    if config["name"] == "tiny_shakespeare":
        return shakespeare(config["manual_dir"], pathlib.Path(config["data_dir"]))
    if config["name"] == "python_text":
        return python_text(pathlib.Path(sysconfig.get_path("stdlib")))
    path = pathlib.Path(config["name"])
    if path.is_dir():
        return text_folder.read(path, config["max_rejected"], config["splits"])
    return own_file(path)


def outline(config: Mapping[str, Any]) -> Corpus:
    """A text of the same lengths and characters, had without downloading anything."""
    if config["name"] != "tiny_shakespeare":
        return read(config)
    remote, train = text_builders.SHAKESPEARE["input.txt"], text_builders.SHAKESPEARE_TRAIN
    text = SHAKESPEARE_CHARACTERS.ljust(remote.size)
    fingerprint = {"sha256": remote.sha256, "bytes": remote.size}
    return Corpus(text[:train], text[train:], fingerprint)


def shakespeare(manual_dir: str | os.PathLike | None, data_dir: pathlib.Path) -> Corpus:
    """tiny_shakespeare (Karpathy 2015), 1,115,394 characters; the last 10 % are for validation.

    Raises what `download.fetch` does.
    """

    def prepared():
        builder = text_builders.tiny_shakespeare(manual_dir, data_dir)
        builder.download_and_prepare()
        source = builder.as_data_source()
        return {split: np.frombuffer(source[split][0]["text"], np.uint8) for split in source}

    folder = data_dir / "arrays" / f"tiny_shakespeare-{text_builders.VERSION}"
    text = {split: raw.tobytes().decode() for split, raw in cached(folder, prepared).items()}
    remote = text_builders.SHAKESPEARE["input.txt"]
    fingerprint = {"sha256": remote.sha256, "bytes": remote.size}
    return Corpus(text["train"], text["validation"], fingerprint)


def own_file(path: pathlib.Path) -> Corpus:
    """A UTF-8 text file; the last 10 % of its characters are for validation.

    Raises:
      ValueError: the file cannot be read, begins with a byte-order mark, is not UTF-8 or holds NUL;
        names the offset of the first bad byte, and what makes such text of it.
    """
    named = f"data.name = {str(path)!r}"
    advice = f"python -m aigc_jax.data.clean {path} --out=CLEAN writes a copy that is"
    try:
        text = text_file.contents(path)
    except OSError as error:
        raise ValueError(
            f"{named}: cannot be read ({error.strerror}); accepted is the path of a UTF-8 text file"
        ) from error
    except Unusable as error:
        told = f"{named}: {error.reason}. Accepted is UTF-8 text"
        raise ValueError(told if error.kind == "other" else f"{told}; {advice}") from error
    if not text:
        raise ValueError(f"{named}: is empty; accepted is UTF-8 text")
    if told := text_file.marked(text, path):
        refusals.refuse(f"{named}: {told}. Accepted is UTF-8 text without a mark; {advice}")
    cut, raw = len(text) * 9 // 10, text.encode()
    fingerprint = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    return Corpus(text[:cut], text[cut:], fingerprint)


def python_text(root: pathlib.Path) -> Corpus:
    """The `*.py` files under `root` in sorted order, without installed packages, tests and IDLE.

    A file is for validation when the SHA-256 of its path below `root` is divisible by 20. The
    fingerprint's sha256 is that of the training bytes followed by the validation bytes.
    """
    names = []
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if name not in NOT_PYTHON_TEXT]
        inside = pathlib.Path(folder).relative_to(root)
        names += [(inside / name).as_posix() for name in files if name.endswith(".py")]
    parts = {False: [], True: []}
    for name in sorted(names):
        digest = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        parts[digest % 20 == 0].append((root / name).read_bytes())
    train, validation = b"".join(parts[False]), b"".join(parts[True])
    fingerprint = {
        "sha256": hashlib.sha256(train + validation).hexdigest(),
        "bytes": len(train) + len(validation),
        "python": platform.python_version(),
    }
    return Corpus(train, validation, fingerprint)
