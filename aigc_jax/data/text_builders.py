"""The known text and music sets, and their TFDS builders without TensorFlow."""

import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from aigc_jax.data import download
from aigc_jax.data.download import Remote

VERSION = "1.0.0"  # of the prepared form of both sets
SHAKESPEARE = {
    "input.txt": Remote(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1115394,
    )
}
SHAKESPEARE_TRAIN = 1003854  # characters of the first 90 %, as in nanoGPT
CHORALES = {
    "Jsb16thSeparated.json": Remote(
        "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/master/"
        "Jsb16thSeparated.json",
        "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7",
        1666444,
    )
}
CHORALE_SPLITS = {"train": "train", "validation": "valid", "test": "test"}  # ours: the file's


def read_shakespeare(path: pathlib.Path, split: str) -> Iterator[dict[str, Any]]:
    """One example {"text": str}: the first 90 % of the characters, or the rest ("validation")."""
    text = path.read_text(encoding="utf-8")
    yield {"text": text[:SHAKESPEARE_TRAIN] if split == "train" else text[SHAKESPEARE_TRAIN:]}


def read_chorales(path: pathlib.Path, split: str) -> Iterator[dict[str, Any]]:
    """Chorales {"frames": int16 [F, 4], "index": int []} in the order of the file.

    A frame is a sixteenth note of soprano, alto, tenor and bass in MIDI pitches; -1 is silence.
    The splits are those of Boulanger-Lewandowski et al. (2012, arXiv:1206.6392).
    """
    pieces = json.loads(path.read_text(encoding="utf-8"))[CHORALE_SPLITS[split]]
    for i, piece in enumerate(pieces):
        yield {"frames": np.array(piece, np.int16), "index": i}


def tiny_shakespeare(manual_dir: str | os.PathLike | None, data_dir: str | os.PathLike):
    """The builder of tiny_shakespeare; see `read_shakespeare`."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    fetch = lambda: download.fetch("tiny_shakespeare", SHAKESPEARE, manual_dir, data_dir)
    splits = ("train", "validation")
    return _builder("tiny_shakespeare", features, splits, fetch, read_shakespeare, data_dir)


def jsb_chorales(manual_dir: str | os.PathLike | None, data_dir: str | os.PathLike):
    """The builder of jsb_chorales; see `read_chorales`."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {"frames": tfds.features.Tensor(shape=(None, 4), dtype=np.int16), "index": np.int32}
    )
    fetch = lambda: download.fetch("jsb_chorales", CHORALES, manual_dir, data_dir)
    splits = tuple(CHORALE_SPLITS)
    return _builder("jsb_chorales", features, splits, fetch, read_chorales, data_dir)


def _builder(
    set_name: str,
    features: Any,
    splits: tuple[str, ...],
    fetch: Callable[[], dict[str, pathlib.Path]],
    read: Callable[[pathlib.Path, str], Iterator[dict[str, Any]]],
    data_dir: str | os.PathLike,
):
    """A `tfds.core.GeneratorBasedBuilder` named "aigc_<set_name>", stored as array_record.

    `download_and_prepare()` raises what `download.fetch` does.
    """
    import tensorflow_datasets as tfds

    class TextBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Prepares one known set."""

        name = f"aigc_{set_name}"
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> tfds.core.DatasetInfo:
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            (path,) = fetch().values()
            return {split: self._generate_examples(path, split) for split in splits}

        def _generate_examples(self, path: pathlib.Path, split: str):
            yield from enumerate(read(path, split))

    return TextBuilder(data_dir=data_dir, file_format="array_record")
