"""A folder of the user's own text files as one text, dirty or not.

Its documents, at any depth, follow each other in natural order ("2.txt" before "10.txt"), each with
a line end of its own. With `train/` and one of `EVALUATION` the split is what the folders
say. Else whole documents are held out, in an order that their paths' hashes say, as many as fit
into a tenth of the characters; where that leaves less than a twentieth, because documents are few
and long, it is the last tenth of all characters, as of a single file.

Files that are no text are left out and counted; above the share `max_rejected` the run stops.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence

from aigc_jax.data import contents, layout, split_names, text_file
from aigc_jax.data.corpus import Corpus
from aigc_jax.data.dirt import Unusable, shown
from aigc_jax.data.inspection import TEXTS
from aigc_jax.data.refused import Refused
from aigc_jax.data.split_names import EVALUATION

WHAT = "text folder"
LAYOUTS = (
    "DIR/**/*.txt, or DIR/train/**/*.txt and one of "
    f"{', '.join(f'DIR/{name}/' for name in EVALUATION)} ({', '.join(TEXTS.suffixes)})"
)


def read(folder: str | os.PathLike, max_rejected: float, splits: str = "") -> Corpus:
    """The documents of a folder in two parts; the fingerprint is of their names and contents.

    Raises:
      ValueError: there are no texts, none for one of the splits, or more than the share
        `max_rejected` of the files can't be used.
    """
    root = pathlib.Path(folder)
    files = listed(root, splits)
    texts, reasons = _documents(root, files)
    refused = Refused(root, len(files), max_rejected, reasons, what=WHAT)
    refused.check()
    train, evaluation, eval_split = _parts(root, texts, splits)
    sha = hashlib.sha256()
    for name, text in texts.items():
        sha.update(f"{len(name.encode())} {len(text.encode())} {name}{text}".encode())
    size = sum(len(text.encode()) for text in texts.values())
    fingerprint = {"sha256": sha.hexdigest(), "files": len(texts), "bytes": size}
    others = contents.overlooked(root, files)
    lines = [refused.summary()] if reasons else []
    lines += [f"{WHAT} {shown(root)}: {others}"] if others else []
    return Corpus(train, evaluation, fingerprint, eval_split, len(reasons), "\n".join(lines))


def listed(root: pathlib.Path, splits: str = "") -> list[pathlib.Path]:
    """The text files that are taken, in natural order: those of the splits' folders, if any.

    Raises:
      ValueError: there are none.
    """
    folders = tuple(split_names.folders(root, splits, TEXTS.suffixes).values())
    below = [pathlib.Path(path) for path in layout.files_below(root)]
    texts = [path for path in below if path.suffix.lower() in TEXTS.suffixes]
    taken = [p for p in texts if not folders or p.relative_to(root).parts[0] in folders]
    if not taken:
        where = f" in {', '.join(folders)}" if folders else ""
        raise ValueError(f"{WHAT} {shown(root)}: no texts{where}. Accepted: {LAYOUTS}")
    named = {path.relative_to(root).as_posix(): path for path in taken}
    return [named[name] for name in layout.natural_order(named)]


def _documents(
    root: pathlib.Path, files: Sequence[pathlib.Path]
) -> tuple[dict[str, str], dict[str, str]]:
    """{path inside the folder: text with a line end}, and {path: reason} of what is no text."""
    texts, reasons = {}, {}
    for path in files:
        name = os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")
        try:
            text = text_file.read(path)
            if not text.strip():
                raise Unusable("empty", "holds no text")
            texts[name] = text if text.endswith("\n") else text + "\n"
        except Unusable as error:
            reasons[name] = error.reason
    return texts, reasons


def _parts(root: pathlib.Path, texts: Mapping[str, str], splits: str) -> tuple[str, str, str]:
    """(training text, evaluation text, the split's name)."""
    folders = split_names.folders(root, splits, TEXTS.suffixes)
    if len(folders) == 2:
        inside = lambda folder: [n for n in texts if n.split("/")[0] == folder]
        for folder in folders.values():
            if not inside(folder):
                raise ValueError(f"{WHAT} {shown(root)}: no text in {folder}/ can be used")
        train, evaluation = ("".join(map(texts.get, inside(f))) for f in folders.values())
        return train, evaluation, list(folders)[1]
    held_out, whole = _held_out(texts), "".join(texts.values())
    if 20 * sum(len(texts[name]) for name in held_out) < len(whole):
        cut = len(whole) * 9 // 10
        return whole[:cut], whole[cut:], "validation"
    train = "".join(text for name, text in texts.items() if name not in held_out)
    return train, "".join(t for name, t in texts.items() if name in held_out), "validation"


def _held_out(texts: Mapping[str, str]) -> set[str]:
    """Documents that together have at most a tenth of all characters."""
    left, chosen = sum(map(len, texts.values())) // 10, set()
    for name in sorted(texts, key=lambda name: hashlib.sha256(name.encode()).digest()):
        if len(texts[name]) <= left:
            chosen.add(name)
            left -= len(texts[name])
    return chosen
