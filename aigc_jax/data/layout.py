"""Where the images of a folder are looked for, and what of it is overlooked there."""

import collections
import os
import pathlib
import re
from collections.abc import Collection, Iterator

from aigc_jax.data import split_names
from aigc_jax.data.dirt import shown
from aigc_jax.data.image_file import SUFFIXES

LAYOUTS = (
    "DIR/*.png, DIR/<class>/*.png, or DIR/train/ and one of DIR/test/, DIR/validation/, DIR/valid/ "
    f"and DIR/val/ with either of these inside ({', '.join(SUFFIXES)})"
)
UNREAD = (".avif", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl") + (
    *(".pbm", ".pgm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff"),
)  # images, too, but not taken

Labelled = tuple[pathlib.Path, str | None]  # a file and its class


def listed(root: pathlib.Path, splits: str = "") -> dict[str, list[Labelled]]:
    """{"train": files, "test" or "validation": files} as the folders say, else {"": files}.

    Raises:
      ValueError: there are no images, images with and without class, or a class not in train.
    """
    folders = split_folders(root, splits)
    if len(folders) < 2:
        return {"": _labelled(root, *folders.values(), splits=splits)}
    found = {split: _labelled(root, folder, splits) for split, folder in folders.items()}
    train, evaluation = found.values()
    classes = list(natural_order({name for _, name in train if name}))
    for path, name in evaluation:
        if (name or "") not in (classes or [""]):
            raise ValueError(
                f"image folder {shown(root)}: {shown(path)} is of no class of "
                f"{shown(folders['train'])}/: {classes}"
            )
    return found


def natural_order(names: Collection[str]) -> tuple[str, ...]:
    """The order of classes and documents: as text, but numbers inside of names as numbers.

    "2" comes before "10", and "x2b" before "x10a".
    """

    def parts(name: str) -> list[tuple[int, str]]:
        words = re.split(r"([0-9]+)", name)
        return [(int(word), "") if i % 2 else (0, word) for i, word in enumerate(words)]

    return tuple(sorted(names, key=lambda name: (parts(name), name)))


def split_folders(root: pathlib.Path, splits: str = "") -> dict[str, str]:
    """`split_names.folders` of images."""
    _listing(root)  # says so if it can't be read
    return split_names.folders(root, splits, SUFFIXES)


def _listing(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise ValueError(
            f"image folder {shown(folder)}: can't be read ({error.strerror})"
        ) from error


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in _listing(folder) if p.suffix.lower() in SUFFIXES]


def _labelled(root: pathlib.Path, inside: str = "", splits: str = "") -> list[Labelled]:
    """The files of `root/inside/*.png` without class, or of `root/inside/<class>/*.png` with it.

    Raises:
      ValueError: there are no images, or both kinds.
    """
    folder = root / inside
    flat = [(path, None) for path in _images(folder)]
    classes = [p for p in _listing(folder) if p.is_dir()]
    nested = [(path, c.name) for c in classes for path in _images(c)]
    if flat and nested:
        raise ValueError(
            f"image folder {shown(folder)}: {shown(flat[0][0].name)} has no class but "
            f"{shown(nested[0][0])} has one. Accepted: {LAYOUTS}"
        )
    if not flat and not nested:
        others = overlooked(root, (), splits)
        told = f" where they are looked for: {others}" if others else ""
        raise ValueError(f"image folder {shown(folder)}: no images{told}. Accepted: {LAYOUTS}")
    return flat or nested


def overlooked(root: pathlib.Path, taken: Collection[pathlib.Path], splits: str = "") -> str:
    """A phrase that counts the images below a folder that are not taken, and says why; "": none."""
    names = {str(path) for path in taken}
    folders = set(split_folders(root, splits).values())
    counts, first = collections.Counter(), {}
    for path in files_below(root):
        if path not in names and os.path.splitext(path)[1].lower() in (*SUFFIXES, *UNREAD):
            inside = pathlib.Path(path).relative_to(root)
            reason = _why_not(inside, folders)
            counts[reason] += 1
            first.setdefault(reason, shown(inside))
    told = [f"{n:,} {reason} ({first[reason]})" for reason, n in counts.most_common()]
    return f"{counts.total():,} image files are not taken: {'; '.join(told)}" if told else ""


def files_below(root: pathlib.Path) -> Iterator[str]:
    """The paths of all files that are not hidden; each folder once, however links lead to it."""
    seen = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        paths = {name: os.path.realpath(os.path.join(folder, name)) for name in inner}
        inner[:] = sorted(n for n, path in paths.items() if n[0] != "." and path not in seen)
        yield from (os.path.join(folder, name) for name in sorted(names) if name[0] != ".")


def _why_not(inside: pathlib.Path, folders: Collection[str]) -> str:
    if inside.suffix.lower() not in SUFFIXES:
        return f"end in {inside.suffix.lower()}"
    if folders and inside.parts[0] not in folders:
        return f"are outside of {'/, '.join(sorted(folders))}/"
    return "are in deeper folders"
