"""A folder of the user's own PNG and JPEG files as an image set, dirty or not.

Files that can't be used are left out and counted: what is empty, cut off, too large, animated or no
PNG or JPEG at all, and, where no option makes them equal, images of another size or number of
channels than most. This is decided from headers and endings alone, once, and the verdicts are kept
under `data_dir` by names, sizes and times of the files. What only decoding shows is found during
training: the next file of the split stands in for such a file whenever it is drawn, so that the set
keeps its length and order, in memory and streamed, in every restart. Above the share `max_rejected`
of both kinds together the run stops.
"""

import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.data import image_file, verdicts
from aigc_jax.data.dataset import Info
from aigc_jax.data.dirt import Unusable
from aigc_jax.data.images import Origin

SUFFIXES = (".png", ".jpg", ".jpeg")
LAYOUTS = (
    "DIR/*.png, DIR/<class>/*.png, or DIR/train/ and DIR/test/ with either of these inside "
    f"({', '.join(SUFFIXES)})"
)
SHOWN = 5  # files that a line lists

Labelled = tuple[pathlib.Path, str | None]  # a file and its class


def _listing(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise ValueError(f"image folder {folder}: can't be read ({error.strerror})") from error


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in _listing(folder) if p.suffix.lower() in SUFFIXES]


def _labelled(folder: pathlib.Path) -> list[Labelled]:
    """The files of `folder/*.png` without class, or of `folder/<class>/*.png` with it.

    Raises:
      ValueError: there are no images, or both kinds.
    """
    flat = [(path, None) for path in _images(folder)]
    classes = [p for p in _listing(folder) if p.is_dir()]
    nested = [(path, c.name) for c in classes for path in _images(c)]
    if flat and nested:
        raise ValueError(
            f"image folder {folder}: {flat[0][0].name} has no class but {nested[0][0]} has one. "
            f"Accepted: {LAYOUTS}"
        )
    if not flat and not nested:
        raise ValueError(f"image folder {folder}: no images. Accepted: {LAYOUTS}")
    return flat or nested


def listed(root: pathlib.Path) -> dict[str, list[Labelled]]:
    """{"train": files, "test": files} as the folders say, or {"": files} without a test folder.

    Raises:
      ValueError: there are no images, images with and without class, or a class only in test.
    """
    folders = {p.name for p in _listing(root) if p.is_dir()}
    if not {"train", "test"} <= folders:
        return {"": _labelled(root / "train" if "train" in folders else root)}
    found = {split: _labelled(root / split) for split in ("train", "test")}
    classes = sorted({name for _, name in found["train"] if name})
    for path, name in found["test"]:
        if (name or "") not in (classes or [""]):
            raise ValueError(f"image folder {root}: {path} is of no class of train/: {classes}")
    return found


def _rank(path: pathlib.Path, root: pathlib.Path) -> int:
    """A fixed pseudo-random number of a file, from its path inside the folder."""
    return int(hashlib.sha256(os.fsencode(path.relative_to(root).as_posix())).hexdigest(), 16)


def _splits(root: pathlib.Path, found: Mapping[str, Sequence[Labelled]]):
    """The files of each split in a fixed shuffled order.

    Without a test folder, a file is for validation when its hash is a multiple of ten, so that it
    stays there when files are added.
    """
    ranked = {k: sorted(files, key=lambda f: _rank(f[0], root)) for k, files in found.items()}
    empty = [name for name, files in ranked.items() if not files]
    if empty:
        raise ValueError(f"image folder {root / empty[0]}: no file can be used")
    if "test" in ranked:
        return ranked
    files = ranked[""]
    if len(files) < 2:
        raise ValueError(f"image folder {root}: one image; training and validation need two")
    held_out = {file for file in files if _rank(file[0], root) % 10 == 0}
    if len(held_out) in (0, len(files)):
        held_out = {files[0]}
    train = [file for file in files if file not in held_out]
    return {"train": train, "validation": [f for f in files if f in held_out]}


@dataclasses.dataclass(frozen=True)
class Refused:
    """The files of a folder that can't be used and why, and how many there may be."""

    root: pathlib.Path
    total: int
    share: float
    reasons: dict[pathlib.Path, str] = dataclasses.field(default_factory=dict)

    def add(self, found: Mapping[pathlib.Path, str]) -> None:
        """Takes note of files. Raises a ValueError when all together are more than the share."""
        self.reasons.update(found)
        if len(self.reasons) > self.share * self.total:
            raise ValueError(
                f"image folder {self.root}: {self.summary()}. data.max_rejected = {self.share} is "
                f"the share that may be left out; python -m aigc_jax.data.clean {self.root} "
                "--out=CLEAN writes a clean copy and a report"
            )

    def summary(self) -> str:
        """One line: how many files are left out, and the first of them with their reasons."""
        found = dict(self.reasons)  # other threads may add to them meanwhile
        inside = {path.relative_to(self.root): reason for path, reason in found.items()}
        listed = [f"{path} {reason}" for path, reason in list(inside.items())[:SHOWN]]
        more = [f"and {len(inside) - SHOWN:,} more"] if len(inside) > SHOWN else []
        share = 100 * len(inside) / self.total
        return (
            f"{len(inside):,} of {self.total:,} files ({share:.2g} %) can't be used: "
            + "; ".join(listed + more)
        )


@dataclasses.dataclass(frozen=True)
class Files:
    """Labelled image files as examples, decoded when they are asked for.

    In place of a file that can't be decoded comes the next one that can.
    """

    files: Sequence[Labelled]
    classes: Mapping[str, int]
    channels: int
    refused: Refused

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for i in range(index, index + len(self.files)):
            path, name = self.files[i % len(self.files)]
            if path in self.refused.reasons:
                continue
            try:
                image = {"image": image_file.decoded(path, self.channels)}
                return {**image, "label": self.classes[name]} if self.classes else image
            except Unusable as error:
                print(
                    f"image file {path}: {error.reason}; the next one stands in for it",
                    file=sys.stderr,
                )
                self.refused.add({path: error.reason})
        raise ValueError(f"image folder {self.refused.root}: no image of a split can be decoded")


def origin(
    folder: str | os.PathLike,
    image_size: int | None,
    channels: int | None,
    max_rejected: float = 0.01,
    data_dir: str | os.PathLike | None = None,
) -> Origin:
    """A folder as an image set; only names, sizes and headers are read before it is opened.

    Headers of unchanged files are read once, if verdicts can be kept under `data_dir`.

    Raises:
      ValueError: there are no images, they are laid out in another way, or more than the share
        `max_rejected` of them can't be used; also later, when decoding shows that.
    """
    root = pathlib.Path(folder)
    found = listed(root)
    files = sorted((path for split in found.values() for path, _ in split), key=str)
    stamps = [verdicts.stamped(root, path) for path in files]
    shapes, reasons = verdicts.examined(root, stamps, data_dir)
    shape, reasons = verdicts.agreed(shapes, reasons, image_size, channels)
    refused = Refused(root, len(files), max_rejected)
    refused.add({path: reason for path, reason in zip(files, reasons, strict=True) if reason})
    kept = {s: [file for file in f if file[0] not in refused.reasons] for s, f in found.items()}
    splits = _splits(root, kept)
    names = sorted({name for name_of in found.values() for _, name in name_of if name})
    classes = {name: i for i, name in enumerate(names)}

    def open():
        depth = channels or shape[2]
        return {name: Files(split, classes, depth, refused) for name, split in splits.items()}

    stamps = [stamp for stamp, reason in zip(stamps, reasons, strict=True) if not reason]
    sizes = [[name, size] for name, size, _ in stamps]
    info = Info(
        name=root.resolve().name,
        sizes={name: len(split) for name, split in splits.items()},
        eval_split=list(splits)[1],
        shapes={"image": shape, **({"label": ()} if classes else {})},
        dtypes={"image": "uint8", **({"label": "int32"} if classes else {})},
        num_classes=len(classes),
        fingerprint={
            "files": len(sizes),
            "bytes": sum(size for _, size in sizes),
            "names_and_sizes_sha256": hashlib.sha256(repr(sizes).encode()).hexdigest(),
        },
        rejected=len(refused.reasons),
    )
    note = f"image folder {root}: {refused.summary()}" if refused.reasons else ""
    return Origin(info, open, stamps, note)
