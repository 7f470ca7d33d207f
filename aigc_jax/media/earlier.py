"""Earlier samples in a folder that new ones go into: known by the marks that they carry.

Only what is named as samples are is looked at, and a file without a mark is never touched.
"""

import contextlib
import json
import pathlib
import re
from collections.abc import Collection

from aigc_jax.media import provenance

NAMED = re.compile(r"(\d{3,}|grid|pairs|samples)\.(png|npz|json|txt|mid|wav)")

MARK = b'"software": "aigc_jax"'  # within MIDI and WAV files, as `provenance.to_text` has it


def check(folder: pathlib.Path, names: Collection[str]) -> None:
    """Samples of these names may be written into the folder.

    Raises:
      ValueError: naming a file that is there and is no sample.
    """
    for path in map(folder.joinpath, names):
        if path.exists() and not is_sample(path):
            raise ValueError(
                f"--out={folder}: holds a {path.name} that carries no mark of a sample; accepted "
                "is a folder where nothing else is written over"
            )


def remove(folder: pathlib.Path) -> list[str]:
    """Removes all samples from the folder; returns their names."""
    named = sorted(path for path in folder.iterdir() if NAMED.fullmatch(path.name))
    found = [path for path in named if is_sample(path)]  # before any goes: a text needs its mark
    for path in found:
        path.unlink()
    return [path.name for path in found]


def is_sample(path: pathlib.Path) -> bool:
    """Whether a file carries the mark of a sample; of a text, whether that beside it is its own."""
    with contextlib.suppress(Exception):  # what cannot be read is nobody's sample
        if path.suffix in (".png", ".npz"):
            return _marked(provenance.read(path))
        if path.suffix in (".mid", ".wav"):
            return MARK in path.read_bytes()
        mark = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        own = path.suffix == ".json" or mark["sha256"] == provenance.sha256(path.read_bytes())
        return _marked(mark) and own
    return False


def _marked(mark: dict) -> bool:
    return bool(mark["generated"]) and mark["software"] == "aigc_jax"
