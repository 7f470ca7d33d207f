"""Which files of a folder are left out by cleaning, and why."""

import argparse
import collections
import multiprocessing
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from aigc_jax.data import contents, duplicates, outliers, room, split_names, verdicts
from aigc_jax.data.contents import KINDS
from aigc_jax.data.dirt import Unusable
from aigc_jax.data.inspection import IMAGES, Facts, Kind

CHUNK = 32  # files that a process is given at a time

Rejections = dict[int, dict[str, Any]]  # by index: {"path", "kind", "reason", ...}


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """All files in a folder and those inside it, and the folders that are not looked into.

    These are links to folders, and what may not be read; to be reported, like files.
    """
    found: list[str] = []
    for top, inner, names in os.walk(folder, onerror=lambda error: found.append(error.filename)):
        links = [name for name in inner if os.path.islink(os.path.join(top, name))]
        found += [os.path.join(top, name) for name in [*names, *links]]
    return sorted(map(pathlib.Path, found))


def kind_of(folder: pathlib.Path, files: Sequence[pathlib.Path]) -> Kind:
    """The kind of data that most of the files are of, by the endings of their names.

    Raises:
      ValueError: no file is of any kind.
    """
    counts = contents.counted(files)
    if not counts:
        told = "; ".join(f"{kind.name} ({', '.join(kind.suffixes)})" for kind in KINDS)
        raise ValueError(f"{folder}: holds {len(files)} files, none of them {told}")
    return next(iter(counts))


def inspected(
    files: Sequence[pathlib.Path], kind: Kind, processes: int = 1
) -> list[Facts | Unusable]:
    """The facts of each file, or why there are none; in several processes if asked for."""
    if processes == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of what is reported anyway
            return [_inspected(path, kind.name) for path in files]
    # Forked processes could inherit locks that threads of this one hold.
    context = multiprocessing.get_context("spawn")
    shared = (room.of(processes, context),)
    with ProcessPoolExecutor(processes, context, _start_process, shared) as pool:
        return list(pool.map(_inspected, files, [kind.name] * len(files), chunksize=CHUNK))


def _start_process(shared: room.Room) -> None:
    warnings.simplefilter("ignore")
    room.share(shared)


def _inspected(path: pathlib.Path, name: str) -> Facts | Unusable:
    kind = next(kind for kind in KINDS if kind.name == name)
    try:
        if path.is_dir():
            raise Unusable("other", "is a folder that is linked to, or may not be read")
        if not path.is_file():
            raise Unusable("other", "is not a regular file")
        if path.suffix.lower() not in kind.suffixes:
            raise Unusable("other", f"does not end in {', '.join(kind.suffixes)}")
        return kind.facts(path)
    except Unusable as error:
        return error
    except OSError as error:
        return Unusable("unreadable", f"can't be read ({error.strerror})")


def rejections(
    folder: pathlib.Path,
    files: Sequence[pathlib.Path],
    found: Sequence[Facts | Unusable],
    kind: Kind,
    flags: argparse.Namespace,
) -> tuple[Rejections, list[str]]:
    """{index: what is wrong with that file}, and remarks about all of them.

    A file is left out for the first reason there is: it can't be used, has another shape, is a
    copy, a near copy, unlike the rest. Of copies the one in test/ is kept, else in validation/,
    else the first by path.
    """
    names = [path.relative_to(folder).as_posix() for path in files]
    out: Rejections = {}
    notes: list[str] = []

    def reject(i: int, what: str, reason: str, **more: Any) -> None:
        out[i] = {"path": names[i], "kind": what, "reason": reason, **more}

    for i, facts in enumerate(found):
        if isinstance(facts, Unusable):
            reject(i, facts.kind, facts.reason)
    if kind is IMAGES:
        for i, (what, reason) in _odd_shapes(found, flags, notes).items():
            reject(i, what, reason)
    ranks = {"test": -2, "validation": -1}
    rank = [ranks.get(split_names.meant(name.split("/")[0]), 0) for name in names]
    order = sorted(range(len(files)), key=lambda i: (rank[i], names[i]))
    left = [i for i in order if i not in out]
    for copy, first in duplicates.exact([found[i].digest for i in left]).items():
        _reject_copy(reject, "duplicate", "is a copy of", names, left[copy], left[first])
    left = [i for i in left if i not in out]
    if flags.near >= 0 and left:
        hashes = np.array([found[i].hash for i in left], np.uint64)
        thumbnails = np.stack([found[i].thumbnail for i in left])
        for copy, first in duplicates.near(hashes, thumbnails, flags.near).items():
            _reject_copy(reject, "near", "is almost", names, left[copy], left[first])
    left = [i for i in left if i not in out]
    for i, (score, feature) in _strange(found, left, kind, flags.outliers, notes).items():
        reason = f"is unlike the rest (score {score:.2f}), most of all by its {feature}"
        reject(i, "outlier", reason, score=round(score, 4))
    _remark_on_labels(out, notes)
    return out, notes


def _reject_copy(reject, what: str, told: str, names: Sequence[str], copy: int, first: int) -> None:
    reject(copy, what, f"{told} {names[first]}", like=names[first])


def _odd_shapes(
    found: Sequence[Facts | Unusable], flags: argparse.Namespace, notes: list[str]
) -> Mapping[int, tuple[str, str]]:
    """{index: (kind, reason)} of the images that differ in shape from most, or are too small."""
    usable = [i for i, facts in enumerate(found) if isinstance(facts, Facts)]
    shapes = np.array([found[i].shape for i in usable], np.int64).reshape(-1, 3)
    sizes = collections.Counter(map(tuple, shapes[:, :2].tolist()))
    mixed = bool(sizes) and max(sizes.values()) <= len(usable) / 2
    if mixed and not flags.image_size:
        notes.append(f"the images have {len(sizes)} sizes: train with data.image_size")
    alike = flags.image_size or mixed
    _, reasons = verdicts.agreed(shapes, [""] * len(usable), alike, flags.channels)
    odd = {}
    for i, (height, width, _), reason in zip(usable, shapes, reasons, strict=True):
        if min(height, width) < (flags.image_size or 0):
            odd[i] = ("size", f"is {width}x{height} pixels, less than {flags.image_size}")
        elif reason:
            odd[i] = ("channels" if "channels" in reason else "size", reason)
    return odd


def _strange(
    found: Sequence[Facts | Unusable],
    left: Sequence[int],
    kind: Kind,
    least: float,
    notes: list[str],
) -> Mapping[int, tuple[float, str]]:
    """{index: (score, the feature that stands out)} of those scored above `least`."""
    if least == 1 or not left:
        return {}
    if len(left) < outliers.LEAST:
        notes.append(f"outliers were not looked for among less than {outliers.LEAST} files")
        return {}
    features = np.array([found[i].features for i in left])
    scores = outliers.scores(features)
    strange = np.flatnonzero(scores > least)
    named = lambda row: kind.features[outliers.strangest(features, row)]
    return {left[row]: (float(scores[row]), named(row)) for row in strange}


def _remark_on_labels(out: Rejections, notes: list[str]) -> None:
    """Says how many copies were in another folder, which is a class or a split."""
    folders = lambda path: path.rpartition("/")[0]
    pairs = [(row["path"], row["like"]) for row in out.values() if "like" in row]
    crossing = sum(folders(a) != folders(b) for a, b in pairs)
    if crossing:
        notes.append(
            f"{crossing} copies were in another class or split than what is kept: check them"
        )
