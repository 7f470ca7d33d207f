"""Which folders of a data set are its splits: by their names, or as `data.splits` says."""

import os
import pathlib
import re
from collections.abc import Collection, Sequence

from aigc_jax import refusals
from aigc_jax.data.dirt import shown

# Names of the folder beside train/ that evaluation takes, the first that there is -> its split.
EVALUATION = {"test": "test"} | dict.fromkeys(("validation", "valid", "val"), "validation")
# What words in other names mean, in any case: Train/, TEST/, val2017/, training_set/.
MEANT = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("validation", "validate", "valid", "val", "eval", "evaluation", "dev", "holdout"), "validation"
)
BESIDE = {"", "set", "data", "split", "images", "imgs", "files", "x"}  # words that change nothing
CLASSES = "none"  # of `data.splits`: no folder is a split


def meant(name: str) -> str:
    """The split that the name of a folder seems to mean, "" for none."""
    words = re.split(r"[^a-z]+", name.lower())
    found = [MEANT[word] for word in words if word in MEANT]
    return found[0] if len(found) == 1 and set(words) <= BESIDE | MEANT.keys() else ""


def folders(root: pathlib.Path, splits: str, suffixes: Collection[str]) -> dict[str, str]:
    """{split: name of its folder}: nothing, only "train", or "train" and the one to evaluate.

    Args:
      splits: `data.splits`: "" goes by names; "none"; or the folder to train on and maybe, after a
        comma, the one to evaluate on.
      suffixes: endings of the files that count.

    Raises:
      ValueError: `splits` names no folder, or names look as if they meant splits and are not
        `train` and one of `EVALUATION`.
    """
    there = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    if splits:
        return _told(root, splits, there)
    evaluation = [name for name in EVALUATION if name in there][:1]
    found = {"train": "train", **{EVALUATION[name]: name for name in evaluation}}
    found = found if "train" in there else {}
    if len(found) < 2:
        _check_names(root, [name for name in there if _holds(root / name, suffixes)], found)
    return found


def _check_names(root: pathlib.Path, there: Sequence[str], found: Collection[str]) -> None:
    """Refuses folders that may be splits or classes; a folder train/ alone is a split."""
    like = [name for name in there if meant(name)]
    if not like or (found and len(there) == 1):
        return
    by_meaning = {meant(name): name for name in reversed(like)}
    pair = [by_meaning[s] for s in ("train", "test", "validation") if s in by_meaning][:2]
    named = ",".join(pair if "train" in by_meaning else like[:1])
    listed = ", ".join(f"{shown(name)}/" for name in there[:6])
    refusals.refuse(
        f"data.name = {shown(root)!r}: holds {listed}, of which {', '.join(map(shown, like))} may "
        f"be splits or classes. Accepted are train/ beside one of {'/, '.join(EVALUATION)}/, or "
        f"--config.data.splits={shown(named)} for the folder to train on (and after a comma the "
        f"one to evaluate on), or --config.data.splits={CLASSES} where all folders are classes"
    )


def _told(root: pathlib.Path, splits: str, there: Sequence[str]) -> dict[str, str]:
    if splits == CLASSES:
        return {}
    names = splits.split(",")
    if len(names) > 2 or len(set(names)) < len(names) or not set(names) <= set(there):
        raise ValueError(
            f"data.splits = {splits!r}: accepted is TRAIN or TRAIN,EVALUATION of the folders "
            f"{', '.join(map(shown, there))} in {shown(root)}, or {CLASSES!r}"
        )
    evaluated = {"test" if meant(name) == "test" else "validation": name for name in names[1:]}
    return {"train": names[0], **evaluated}


def _holds(folder: pathlib.Path, suffixes: Collection[str]) -> bool:
    """Whether files with one of the endings are in a folder, at any depth."""
    return any(
        os.path.splitext(name)[1].lower() in suffixes
        for _, _, names in os.walk(folder)
        for name in names
    )
