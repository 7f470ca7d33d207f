"""What a data set is to the rest of the project: facts known for free, and splits of examples."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Info(NamedTuple):
    """What is known of a data set before it is prepared.

    `shapes` and `dtypes` describe one raw example; images are uint8 [H, W, C], or float32 in
    [-1, 1], labels int32 [], tokens int32 [T + 1] for a context of T.
    """

    name: str
    sizes: Mapping[str, int]  # examples per epoch, by split; "train" and `eval_split`
    eval_split: str  # "test" or "validation": what evaluation reports
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    num_classes: int = 0  # 0: no labels
    vocab: int = 0  # 0: no tokens
    fingerprint: Mapping[str, Any] = {}  # what identifies the content: sha256, size, version
    rejected: int = 0  # files left out because they can't be used
    class_names: tuple[str, ...] = ()  # of labels 0 .. num_classes - 1, if they have names


class Split(NamedTuple):
    """One split. Either `arrays` fit in memory, or `source` is read example by example.

    `gather(arrays, indices)` gives the raw batch of example indices [B]. It only indexes and adds,
    so that it works on NumPy arrays on the host and on JAX arrays inside a compiled call alike.
    """

    length: int
    arrays: Mapping[str, np.ndarray] | None = None
    gather: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None
    source: Sequence[Mapping[str, np.ndarray]] | None = None


class Dataset(NamedTuple):
    """A prepared data set."""

    info: Info
    train: Split
    eval: Split  # the split that `info.eval_split` names
    tokenizer: Any = None  # of tokens, `tokenizers.Tokenizer`; without one they are shown as ids
    # What is known of how its examples came about, from which an evaluation counts modes:
    mixture: Any = None  # the Gaussians that points were drawn from, a `points.Mixture`
    digits: Any = None  # the Dataset of the single digits that are the channels of its images


def rows(arrays: Mapping[str, Any], indices: Any) -> dict[str, Any]:
    """Examples that are rows of arrays [N, ...]."""
    return {name: array[indices] for name, array in arrays.items()}
