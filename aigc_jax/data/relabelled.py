"""Labels as a run counts them: a class keeps the number that it had when the run began."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.data import folder
from aigc_jax.data.dataset import Dataset, Info, Split


@dataclasses.dataclass(frozen=True)
class Relabelled:
    """Streamed examples whose labels y become numbers[y]."""

    source: Sequence[Mapping[str, Any]]
    numbers: np.ndarray

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._example(self.source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Several examples at once, in the given order."""
        if hasattr(self.source, "__getitems__"):
            return [self._example(example) for example in self.source.__getitems__(indices)]
        return [self[int(i)] for i in indices]

    def _example(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {**example, "label": self.numbers[example["label"]]}


def as_begun(dataset: Dataset, before: Info) -> Dataset:
    """The data with its classes in the order that a run stored in `before`.

    Raises:
      ValueError: the classes have other names than they had.
    """
    now, names = dataset.info.class_names, order_of(before, dataset.info.class_names)
    if names == now:
        return dataset
    if not now:
        return dataset._replace(info=dataset.info._replace(class_names=names))
    if sorted(names) != sorted(now):
        changed = sorted(set(names) ^ set(now))
        raise ValueError(
            f"config.data.name = {dataset.info.name!r}: is not the data that the run was trained "
            f"on; of its {len(now)} classes and the {len(names)} then, only one side has {changed}"
        )
    numbers = np.array([names.index(name) for name in now], dataset.info.dtypes["label"])

    def split_of(split: Split) -> Split:
        if split.arrays is None:
            return split._replace(source=Relabelled(split.source, numbers))
        labels = numbers[np.asarray(split.arrays["label"])]
        return split._replace(arrays={**split.arrays, "label": labels})

    info = dataset.info._replace(class_names=names)
    return dataset._replace(info=info, train=split_of(dataset.train), eval=split_of(dataset.eval))


def order_of(before: Info, now: tuple[str, ...]) -> tuple[str, ...]:
    """The classes of a stored run in its order.

    Runs that stored no names counted those of a folder as text: "10" before "2".
    """
    if before.class_names or not now:
        return before.class_names or now
    return tuple(sorted(now)) if before.fingerprint.keys() >= folder.FINGERPRINT else now
