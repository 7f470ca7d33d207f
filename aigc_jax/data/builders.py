"""The known image sets, and their TFDS builders without TensorFlow.

A set is described by static facts (`ImageSet`), so that its sizes are known before anything is
downloaded, and a function that reads one split of its original files into arrays.
"""

import gzip
import hashlib
import os
import pathlib
import tarfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.data import download, order
from aigc_jax.data.download import Remote

Files = Mapping[str, pathlib.Path]
DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat") + (
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)  # as Fashion-MNIST names its classes
OBJECTS = ("airplane", "automobile", "bird", "cat", "deer") + (
    *("dog", "frog", "horse", "ship", "truck"),
)  # as CIFAR-10 does
VERSION = "1.0.0"  # of the prepared form of all sets here


class ImageSet(NamedTuple):
    """What is known of an image set with class labels.

    `read(files, split)` gives (images uint8 [N, H, W, C], labels uint8 [N]).
    """

    name: str
    shape: tuple[int, int, int]  # [H, W, C]
    sizes: Mapping[str, int]  # examples by split
    read: Callable[[Files, str], tuple[np.ndarray, np.ndarray]]
    content: Mapping[str, str]  # sha256 by original file
    files: Mapping[str, Remote] = {}  # empty: the set comes with a package
    num_classes: int = 10
    class_names: tuple[str, ...] = DIGITS


# Of the 1,797 images as bytes 0..16, followed by their labels.
DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def read_digits(files: Files, split: str) -> tuple[np.ndarray, np.ndarray]:
    """8x8 handwritten digits of the UCI repository, bundled with scikit-learn.

    Values 0..16 become 0..255. Every class gives a fifth of its images to the test split, to within
    one: of the images in the order of their class, shuffled within it, the test split takes 360 at
    equal distances.

    Raises:
      ValueError: the bundled set is not the one known here.
    """
    from sklearn.datasets import load_digits

    bundled = load_digits()
    images, labels = bundled.images.astype(np.uint8), bundled.target.astype(np.uint8)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if digest != DIGITS_SHA256:
        raise ValueError(
            f"scikit-learn's digits have sha256 {digest}, and {DIGITS_SHA256} is known here: "
            "install a version of scikit-learn that requirements.txt accepts"
        )
    total, tested = len(labels), 360
    shuffled = order.indices(0, 0, total, total)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    in_test = np.zeros(total, bool)
    in_test[by_class[np.arange(tested) * total // tested]] = True
    chosen = in_test if split == "test" else ~in_test
    scaled = np.round(images * (255 / 16)).astype(np.uint8)
    return scaled[chosen][..., None], labels[chosen]


def read_idx(path: pathlib.Path) -> np.ndarray:
    """The uint8 array in a gzipped IDX file, the format of MNIST: its shape, then its bytes."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">i4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_mnist(files: Files, split: str) -> tuple[np.ndarray, np.ndarray]:
    """28x28 images of MNIST (LeCun et al. 1998) or Fashion-MNIST (Xiao et al. 2017)."""
    prefix = "train" if split == "train" else "t10k"
    images = read_idx(files[f"{prefix}-images-idx3-ubyte.gz"])
    return images[..., None], read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"])


def read_cifar10(files: Files, split: str) -> tuple[np.ndarray, np.ndarray]:
    """32x32 images of CIFAR-10 (Krizhevsky 2009) from its binary archive.

    A record is one byte of label and then the image, channels first.
    """
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    with tarfile.open(files["cifar-10-binary.tar.gz"]) as archive:
        parts = [archive.extractfile(f"cifar-10-batches-bin/{name}.bin").read() for name in names]
    records = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0]


def _files(server: str, listing: Mapping[str, tuple[int, str]]) -> dict[str, Remote]:
    return {name: Remote(server + name, sha, size) for name, (size, sha) in listing.items()}


# Addresses, sizes and checksums as registered in TFDS.
MNIST_FILES = _files(
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    {
        "train-images-idx3-ubyte.gz": (
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        "train-labels-idx1-ubyte.gz": (
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        "t10k-images-idx3-ubyte.gz": (
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        "t10k-labels-idx1-ubyte.gz": (
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    },
)
FASHION_MNIST_FILES = _files(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    {
        "train-images-idx3-ubyte.gz": (
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        "train-labels-idx1-ubyte.gz": (
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        "t10k-images-idx3-ubyte.gz": (
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        "t10k-labels-idx1-ubyte.gz": (
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    },
)
CIFAR10_FILES = _files(
    "https://www.cs.toronto.edu/~kriz/",
    {
        "cifar-10-binary.tar.gz": (
            170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        )
    },
)


def _downloaded(
    name: str,
    shape: tuple,
    train: int,
    read: Callable,
    files: Mapping,
    class_names: tuple[str, ...] = DIGITS,
) -> ImageSet:
    content = {name: remote.sha256 for name, remote in files.items()}
    sizes = {"train": train, "test": 10000}
    return ImageSet(name, shape, sizes, read, content, files, class_names=class_names)


SETS = {
    "digits": ImageSet(
        "digits",
        (8, 8, 1),
        {"train": 1437, "test": 360},
        read_digits,
        {"sklearn.datasets.load_digits": DIGITS_SHA256},
    ),
    "mnist": _downloaded("mnist", (28, 28, 1), 60000, read_mnist, MNIST_FILES),
    "fashion_mnist": _downloaded(
        "fashion_mnist", (28, 28, 1), 60000, read_mnist, FASHION_MNIST_FILES, CLOTHES
    ),
    "cifar10": _downloaded("cifar10", (32, 32, 3), 50000, read_cifar10, CIFAR10_FILES, OBJECTS),
}


def builder(known: ImageSet, manual_dir: str | os.PathLike | None, data_dir: str | os.PathLike):
    """The `tfds.core.GeneratorBasedBuilder` of a known set, named "aigc_<name>".

    Examples are {"image": uint8 [H, W, C], "label": int []}, stored as array_record, in the fixed
    shuffled order that TFDS gives them. `download_and_prepare()` raises what `download.fetch` does.
    """
    import tensorflow_datasets as tfds

    class ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Prepares one known set."""

        name = f"aigc_{known.name}"
        VERSION = tfds.core.Version(VERSION)

        def _info(self) -> tfds.core.DatasetInfo:
            # As bytes, writing is three times as fast as as a list of integers.
            image = tfds.features.Tensor(shape=known.shape, dtype=np.uint8, encoding="bytes")
            label = tfds.features.ClassLabel(num_classes=known.num_classes)
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            files = download.fetch(known.name, known.files, manual_dir, data_dir)
            return {split: self._generate_examples(files, split) for split in known.sizes}

        def _generate_examples(self, files: Files, split: str):
            for i, (image, label) in enumerate(zip(*known.read(files, split), strict=True)):
                yield i, {"image": image, "label": int(label)}

    return ImageBuilder(data_dir=data_dir, file_format="array_record")
