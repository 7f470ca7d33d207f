"""A folder of the user's own PNG, JPEG, WebP and BMP files as an image set, dirty or not.

Files that can't be used are left out and counted: what is empty, cut off, too large, animated or no
image at all, and, where no option makes them equal, images of another size or number of channels
than most. This is decided from headers and endings alone, once, and the verdicts are kept
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

import numpy as np

from aigc_jax import refusals
from aigc_jax.data import image_file, layout, verdicts
from aigc_jax.data.dataset import Info
from aigc_jax.data.dirt import Unusable, shown
from aigc_jax.data.images import Origin
from aigc_jax.data.layout import Labelled
from aigc_jax.data.refused import Refused

FINGERPRINT = {"files", "bytes", "names_and_sizes_sha256"}  # the keys, which no other set has
DECODING = 2  # version of what decoding makes of a file: another one has all files decoded again


def _rank(path: pathlib.Path, root: pathlib.Path) -> int:
    """A fixed pseudo-random number of a file, from its path inside the folder."""
    return int(hashlib.sha256(os.fsencode(path.relative_to(root).as_posix())).hexdigest(), 16)


def _splits(root: pathlib.Path, found: Mapping[str, Sequence[Labelled]]):
    """The files of each split in a fixed shuffled order.

    Without a folder to evaluate, a file is for validation when its hash is a multiple of ten, so
    that it stays there when files are added.
    """
    ranked = {k: sorted(files, key=lambda f: _rank(f[0], root)) for k, files in found.items()}
    empty = [name for name, files in ranked.items() if not files]
    if empty:
        of_split = f" of {empty[0]}" if empty[0] else ""
        raise ValueError(f"image folder {shown(root)}: no file{of_split} can be used")
    if "" not in ranked:
        return ranked
    files = ranked[""]
    if len(files) < 2:
        raise ValueError(f"image folder {shown(root)}: one image; training and validation need two")
    held_out = {file for file in files if _rank(file[0], root) % 10 == 0}
    if len(held_out) in (0, len(files)):
        held_out = {files[0]}
    train = [file for file in files if file not in held_out]
    return {"train": train, "validation": [f for f in files if f in held_out]}


@dataclasses.dataclass(frozen=True)
class Files:
    """Labelled image files as examples, decoded when they are asked for.

    In place of a file that can't be decoded comes the next one that can.
    """

    files: Sequence[Labelled]
    classes: Mapping[str, int]
    channels: int
    refused: Refused
    background: str = ""
    bits: int = 16

    def __len__(self) -> int:
        return len(self.files)

    def _image(self, path: pathlib.Path) -> np.ndarray:
        return image_file.decoded(path, self.channels, self.background, self.bits)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for i in range(index, index + len(self.files)):
            path, name = self.files[i % len(self.files)]
            inside = path.relative_to(self.refused.root).as_posix()
            if inside in self.refused.damaged:
                continue
            try:
                image = {"image": self._image(path)}
                return {**image, "label": self.classes[name]} if self.classes else image
            except Unusable as error:
                print(
                    f"image file {shown(path)}: {error.reason}; the next one stands in for it",
                    file=sys.stderr,
                )
                self.refused.add({inside: error.reason})
        root = shown(self.refused.root)
        raise ValueError(f"image folder {root}: no image of a split can be decoded")


def origin(
    folder: str | os.PathLike,
    image_size: int | None,
    channels: int | None,
    max_rejected: float = 0.01,
    data_dir: str | os.PathLike | None = None,
    splits: str = "",
    background: str = "",
    bits: int | None = None,
) -> Origin:
    """A folder as an image set; only names, sizes and headers are read before it is opened.

    Headers of unchanged files are read once, if verdicts can be kept under `data_dir`.

    Raises:
      ValueError: there are no images, they are laid out in another way, or more than the share
        `max_rejected` of them can't be used; also later, when decoding shows that.
    """
    root = pathlib.Path(folder)
    found = layout.listed(root, splits)
    files = sorted((path for split in found.values() for path, _ in split), key=str)
    stamps = [verdicts.stamped(root, path) for path in files]
    shapes, reasons, details = verdicts.examined(root, stamps, data_dir)
    shape, reasons = verdicts.agreed(shapes, reasons, image_size, channels)
    unusable = {path: reason for path, reason in zip(files, reasons, strict=True) if reason}
    named = {path.relative_to(root).as_posix(): reason for path, reason in unusable.items()}
    refused = Refused(root, len(files), max_rejected, named)
    refused.check()
    kept = {s: [file for file in f if file[0] not in unusable] for s, f in found.items()}
    used = np.array([not reason for reason in reasons])
    depth = channels or shape[2]
    _check_pixels(root, np.array(files)[used], details[used], depth, background, bits)
    parts = _splits(root, kept)
    classes = {name: i for i, name in enumerate(_classes(root, found, kept))}

    def open():
        how = (classes, depth, refused, background, bits or 16)
        return {name: Files(split, *how) for name, split in parts.items()}

    stamps = [stamp for stamp, reason in zip(stamps, reasons, strict=True) if not reason]
    sizes = [[name, size] for name, size, _ in stamps]
    info = Info(
        name=shown(root.resolve().name),
        sizes={name: len(split) for name, split in parts.items()},
        eval_split=list(parts)[1],
        shapes={"image": shape, **({"label": ()} if classes else {})},
        dtypes={"image": "uint8", **({"label": "int32"} if classes else {})},
        num_classes=len(classes),
        fingerprint={
            "files": len(sizes),
            "bytes": sum(size for _, size in sizes),
            "names_and_sizes_sha256": hashlib.sha256(repr(sizes).encode()).hexdigest(),
        },
        rejected=refused.count(),
        class_names=tuple(map(shown, classes)),
    )
    # Beside what it was in earlier versions only what makes other arrays of the same files.
    newer = [splits] * bool(splits) + [list(classes)] * (list(classes) != sorted(classes))
    newer += [f"{background} {bits}"] * bool(background or bits)
    note = _note(root, files, refused, splits)
    return Origin(info, open, [DECODING, stamps, *newer], note, refused)


def _check_pixels(
    root: pathlib.Path,
    files: Sequence[pathlib.Path],
    details: np.ndarray,
    channels: int,
    background: str,
    bits: int | None,
) -> None:
    """Refuses what would be lost without a word: transparency, and values that use few of 16 bits.

    `details` are those of `verdicts.examined`.
    """
    transparent, used, stored, colours = details.astype(int).T
    if channels != 4 and not background and transparent.any():
        refusals.refuse(
            f"image folder {shown(root)}: {transparent.sum():,} of {len(files):,} files "
            f"({shown(files[transparent.argmax()].name)}) may be transparent: say "
            "--config.data.background=white (or grey, black) for what is behind, none for colours "
            "as they are stored, or --config.data.channels=4 to keep it"
        )
    deep = np.flatnonzero(stored)
    if not deep.size:
        return
    most = int(used[deep].max())
    first = shown(files[deep[used[deep].argmax()]].name)
    if bits is not None and most > bits:
        raise ValueError(
            f"data.bits = {bits}: {first} in {shown(root)} has values of {most} bits; accepted is "
            f"{most} to 16"
        )
    if bits is None and most < 16:
        refusals.refuse(
            f"image folder {shown(root)}: of the 16 bits of {deep.size:,} files only {most} are "
            f"used ({first}): say --config.data.bits={most} for levels of that range, or 16 to "
            "take the upper 8 all the same"
        )
    if bits not in (None, 16) and colours[deep].any():
        raise ValueError(
            f"data.bits = {bits}: of colours of 16 bits ({first} in {shown(root)}) only the upper "
            "8 can be read; accepted is 16, or files of 8 bits"
        )


def _classes(
    root: pathlib.Path, found: Mapping[str, Sequence[Labelled]], kept: Mapping[str, Sequence]
) -> tuple[str, ...]:
    """The classes in their order; one that has lost all files to train on is refused."""
    names = {name for files in found.values() for _, name in files if name}
    trained = next(iter(kept.values()))  # of "train", or of "", which is divided later
    lost = layout.natural_order(names - {name for _, name in trained})
    if lost:
        refusals.refuse(
            f"image folder {shown(root)}: none of the files of class {', '.join(map(shown, lost))} "
            "can be used to train on; accepted are classes with at least one: mend the files, or "
            "take the folder away"
        )
    return layout.natural_order(names)


def _note(root: pathlib.Path, files: Sequence[pathlib.Path], refused: Refused, splits: str) -> str:
    """What is left out and what is overlooked, a line for each."""
    others = layout.overlooked(root, files, splits)
    lines = [refused.summary()] if refused.count() else []
    lines += [f"image folder {shown(root)}: {others}"] if others else []
    return "\n".join(lines)
