"""Pictures and tables of classes name them as the data do."""

import numpy as np

from aigc_jax.data.dataset import Info
from aigc_jax.evaluation import galleries

INFO = Info("own", {}, "test", {}, {}, num_classes=3, class_names=("cat", "dog", "10"))


def test_rows_of_classes_are_named():
    made = np.zeros((4, 8, 8, 1), np.float32)
    caption = galleries.by_class(made, np.array([0, 1, 2, 0]), INFO).caption
    assert caption.endswith("cat, dog, 10.")
    unnamed = galleries.by_class(made, np.array([0, 1, 2, 0]), INFO._replace(class_names=()))
    assert unnamed.caption.endswith("0 to 2.")


def test_shares_are_of_every_class():
    made, test = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 2, 2])
    lines = galleries.shares(made, test, INFO).text.splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["cat", "75.00%", "20.00%"],
        ["dog", "25.00%", "40.00%"],
        ["10", "0.00%", "40.00%"],
    ]
