"""A folder of the user's own MIDI files as pieces of four voices, dirty or not.

Files, at any depth, are taken in natural order ("2.mid" before "10.mid"). With `train/` and one of
`EVALUATION` the split is what the folders say; else a piece is for validation when the hash of its
path is a multiple of ten, so that it stays there when others are added.

Files that cannot be used are left out and counted; above the share `max_rejected` the run stops.
What the others lose in `voices.frames` is counted, too. What was read of unchanged files is kept
under `data_dir`.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.data import cache, contents, layout, midi, split_names, verdicts, voices
from aigc_jax.data.dirt import Unusable, shown
from aigc_jax.data.inspection import MUSIC
from aigc_jax.data.refused import Refused
from aigc_jax.data.split_names import EVALUATION

WHAT = "MIDI folder"
VERSION = 1  # of what is made of a file: another one has all files read again
LAYOUTS = (
    "DIR/**/*.mid, or DIR/train/**/*.mid and one of "
    f"{', '.join(f'DIR/{name}/' for name in EVALUATION)} ({', '.join(MUSIC.suffixes)})"
)


class Pieces(NamedTuple):
    """The pieces of a set, and what is known of them."""

    name: str
    frames: Mapping[str, Sequence[np.ndarray]]  # int16 [F, 4] of each, by split, "train" first
    fingerprint: Mapping[str, Any]
    rejected: int = 0
    note: str = ""  # what is left out and lost, lines


def read(config: Mapping[str, Any]) -> Pieces:
    """The pieces of the folder `config["name"]`; the fingerprint is of names and contents.

    Raises:
      ValueError: there are no MIDI files, none for one of the splits, or more than the share
        `max_rejected` of them cannot be used.
    """
    root = pathlib.Path(config["name"])
    files = listed(root, config["splits"])
    found = _examined(root, files, config["data_dir"])
    reasons = {name: found.reasons[name] for name in files if name in found.reasons}
    refused = Refused(root, len(files), config["max_rejected"], reasons, what=WHAT)
    refused.check()
    lines = [refused.summary()] if reasons else []
    others = contents.overlooked(root, files.values())
    lines += [f"{WHAT} {shown(root)}: {told}" for told in (others, found.lost.told()) if told]
    return Pieces(
        shown(root.resolve().name),
        _parts(root, found.frames, config["splits"]),
        {"sha256": found.sha256, "files": len(found.frames)},
        len(reasons),
        "\n".join(lines),
    )


def listed(root: pathlib.Path, splits: str = "") -> dict[str, pathlib.Path]:
    """{path inside the folder: path} of the files that are taken, in natural order.

    Raises:
      ValueError: there are none.
    """
    folders = tuple(split_names.folders(root, splits, MUSIC.suffixes).values())
    below = [pathlib.Path(path) for path in layout.files_below(root)]
    named = {
        os.fsencode(p.relative_to(root).as_posix()).decode("utf-8", "backslashreplace"): p
        for p in below
        if p.suffix.lower() in MUSIC.suffixes
        and (not folders or p.relative_to(root).parts[0] in folders)
    }
    if not named:
        where = f" in {', '.join(folders)}" if folders else ""
        raise ValueError(f"{WHAT} {shown(root)}: no MIDI files{where}. Accepted: {LAYOUTS}")
    return {name: named[name] for name in layout.natural_order(named)}


class Examined(NamedTuple):
    """What all files of a folder hold."""

    frames: Mapping[str, np.ndarray]  # of those that can be used, by name
    reasons: Mapping[str, str]  # why the others can't be
    lost: voices.Lost
    sha256: str


def _examined(
    root: pathlib.Path, files: Mapping[str, pathlib.Path], data_dir: str | os.PathLike
) -> Examined:
    """What the files hold, read once until one of them changes."""

    def examine():
        frames, reasons, lost, sha = {}, {}, voices.Lost(), hashlib.sha256()
        for name, path in files.items():
            try:
                frames[name], missing = voices.frames(midi.read(path))
            except Unusable as error:
                reasons[name] = error.reason
                continue
            except OSError as error:
                told = f"{WHAT} {shown(root)}: {shown(name)} can't be read ({error.strerror})"
                raise ValueError(told) from error
            lost, raw = lost + missing, path.read_bytes()
            sha.update(f"{len(name.encode())} {len(raw)} {name}".encode() + raw)
        about = {
            "lengths": {name: len(piece) for name, piece in frames.items()},
            "reasons": reasons,
            "lost": dataclasses.asdict(lost),
            "sha256": sha.hexdigest(),
        }
        together = np.concatenate([np.zeros((0, 4), np.int16), *frames.values()])
        return {"frames": together, "about": np.frombuffer(json.dumps(about).encode(), np.uint8)}

    stamps = [verdicts.stamped(root, path) for path in files.values()]
    key = cache.digest([VERSION, str(root.resolve()), stamps])
    arrays = cache.cached(pathlib.Path(data_dir) / "arrays" / f"midi-{key}", examine)
    about = json.loads(arrays["about"].tobytes())
    ends = np.cumsum(list(about["lengths"].values()))
    frames = dict(zip(about["lengths"], np.split(arrays["frames"], ends[:-1]), strict=False))
    return Examined(frames, about["reasons"], voices.Lost(**about["lost"]), about["sha256"])


def _parts(
    root: pathlib.Path, frames: Mapping[str, np.ndarray], splits: str
) -> dict[str, list[np.ndarray]]:
    """The pieces for training and those held out, each by its split's name."""
    folders = split_names.folders(root, splits, MUSIC.suffixes)
    if len(folders) == 2:
        inside = {
            split: [piece for name, piece in frames.items() if name.split("/")[0] == folder]
            for split, folder in folders.items()
        }
        for split, pieces in inside.items():
            if not pieces:
                raise ValueError(f"{WHAT} {shown(root)}: no file in {folders[split]}/ can be used")
        return inside
    if len(frames) < 2:
        raise ValueError(
            f"{WHAT} {shown(root)}: {len(frames)} of the files can be used; training and "
            "validation need two"
        )
    rank = lambda name: int(hashlib.sha256(name.encode()).hexdigest(), 16)
    held_out = {name for name in frames if rank(name) % 10 == 0}
    if len(held_out) in (0, len(frames)):
        held_out = {min(frames, key=rank)}
    return {
        "train": [piece for name, piece in frames.items() if name not in held_out],
        "validation": [piece for name, piece in frames.items() if name in held_out],
    }
