"""Any image set that TFDS has already prepared in array_record, by its name.

The description is read from the JSON files that TFDS leaves beside the data, so that it takes no
import of TFDS; only opening the set does.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from aigc_jax.data.dataset import Info
from aigc_jax.data.images import Origin


def find(name: str, data_dir: str | os.PathLike) -> pathlib.Path | None:
    """The folder of the newest prepared version of `name` ("set" or "set/config"), if any."""
    found = [path.parent for path in (pathlib.Path(data_dir) / name).glob("*/features.json")]
    numbered = [p for p in found if p.name.replace(".", "").isdigit()]
    return max(numbered, key=lambda p: [int(x) for x in p.name.split(".")], default=None)


def names(data_dir: str | os.PathLike) -> list[str]:
    """The names of all sets prepared under `data_dir`."""
    root = pathlib.Path(data_dir)
    found = [*root.glob("*/*/features.json"), *root.glob("*/*/*/features.json")]
    return sorted({path.parents[1].relative_to(root).as_posix() for path in found})


def _shape(name: str, features: Mapping[str, Any], image_size: int | None) -> tuple[int, int, int]:
    """[H, W, C] of the feature "image" of a features.json; images of many sizes are resized.

    Raises:
      ValueError: there is no such feature, it is not of bytes, or only `image_size` would make its
        images equal and is not given.
    """
    feature = features.get("image", {})
    stored = feature.get("image") or feature.get("tensor") or {}
    shape = tuple(int(n) for n in stored.get("shape", {}).get("dimensions", ()))
    if len(shape) == 3 and min(shape[:2]) < 1 and image_size:
        shape = (image_size, image_size, shape[2])
    if len(shape) != 3 or min(shape) < 1 or stored.get("dtype", "uint8") != "uint8":
        raise ValueError(
            f"data.name = {name!r}: a prepared set needs a feature 'image', uint8 [H, W, C] of one "
            "size, or data.image_size to make it one; it has the features "
            f"{sorted(features)}, with images of shape {list(shape)}"
        )
    return shape


def _check_classes(file: pathlib.Path, described: Any) -> None:
    """TFDS imports whatever module a features.json names: only its own may be.

    Raises:
      ValueError: naming the file and the class.
    """
    if isinstance(described, list):
        described = dict(enumerate(described))
    for key, value in described.items() if isinstance(described, dict) else ():
        names_class = key in ("pythonClassName", "python_class_name")
        if names_class and not str(value).startswith("tensorflow_datasets."):
            raise ValueError(
                f"{file}: names {value!r}; accepted are classes of tensorflow_datasets"
            )
        _check_classes(file, value)


def _splits(name: str, sizes: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """{split: (TFDS's instruction, examples)} of "train" and what evaluation reports.

    Without a test or validation split the last tenth of train becomes the validation split.
    """
    if sizes.get("train", 0) < 2:
        raise ValueError(f"data.name = {name!r}: needs a train split; it has {sorted(sizes)}")
    total = sizes["train"]
    for split in ("test", "validation"):
        if sizes.get(split):
            return {"train": ("train", total), split: (split, sizes[split])}
    held_out = max(1, total // 10)
    cut = total - held_out
    return {"train": (f"train[:{cut}]", cut), "validation": (f"train[{cut}:]", held_out)}


def _class_names(folder: pathlib.Path, classes: int) -> tuple[str, ...]:
    """The names that TFDS keeps of the labels, one a line, where it has some."""
    file = folder / "label.labels.txt"
    names = tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
    return names if len(set(names)) == classes == len(names) else ()


def origin(name: str, folder: pathlib.Path, image_size: int | None) -> Origin:
    """A prepared set with the features "image" and maybe "label" as an image set.

    Args:
      name: of the set, as TFDS writes it.
      folder: of one version of it, with features.json and dataset_info.json.
      image_size: for images that differ in size, what they will be resized to.

    Raises:
      ValueError: it lacks images of one size or a train split, is not in array_record, or names
        code of its own.
    """
    described = json.loads((folder / "features.json").read_text())
    _check_classes(folder / "features.json", described)
    features = described["featuresDict"]["features"]
    stored = json.loads((folder / "dataset_info.json").read_text())
    if stored.get("fileFormat") != "array_record":
        raise ValueError(
            f"data.name = {name!r}: {folder} is stored as {stored.get('fileFormat', 'tfrecord')}; "
            "accepted is array_record"
        )
    shape = _shape(name, features, image_size)
    sizes = {s["name"]: sum(map(int, s.get("shardLengths", ()))) for s in stored["splits"]}
    splits = _splits(name, sizes)
    classes = int(features.get("label", {}).get("classLabel", {}).get("numClasses", 0))
    fingerprint = {
        "version": stored["version"],
        "bytes": sum(int(s.get("numBytes", 0)) for s in stored["splits"]),
    }

    def open():
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
        return {split: builder.as_data_source(split=part) for split, (part, _) in splits.items()}

    info = Info(
        name=name.replace("/", "-"),
        sizes={split: size for split, (_, size) in splits.items()},
        eval_split=list(splits)[1],
        shapes={"image": shape, **({"label": ()} if classes else {})},
        dtypes={"image": "uint8", **({"label": "int32"} if classes else {})},
        num_classes=classes,
        fingerprint=fingerprint,
        class_names=_class_names(folder, classes),
    )
    return Origin(info, open, [name, fingerprint])
