"""What a user's own data function returns is held against what it says, before any work."""

import numpy as np
import pytest
import tiny_runs

from aigc_jax import build, refusals
from aigc_jax.data import conformance
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.windows import piece_windows

N, K = 20, 4
RNG = np.random.default_rng(0)
INFO = Info(
    name="own",
    sizes={"train": N, "test": N},
    eval_split="test",
    shapes={"image": (4, 4, 3), "label": ()},
    dtypes={"image": "uint8", "label": "int32"},
    num_classes=K,
)
ARRAYS = {
    "image": RNG.integers(0, 256, (N, 4, 4, 3)).astype(np.uint8),
    "label": RNG.integers(0, K, N).astype(np.int32),
}
TOKENS = Info(
    "own", {"train": 9, "test": 9}, "test", {"tokens": (5,)}, {"tokens": "int32"}, vocab=7
)


def held(info=INFO, length=N, **changed):
    """The data set, its training split with other arrays."""
    arrays = {k: v for k, v in (ARRAYS | changed).items() if v is not None}
    return Dataset(info, Split(length, arrays, rows), Split(N, ARRAYS, rows))


def streamed(**changed):
    arrays = ARRAYS | changed
    source = [{name: array[i] for name, array in arrays.items()} for i in range(N)]
    return Dataset(INFO, Split(N, source=source), Split(N, ARRAYS, rows))


def of_tokens(tokens):
    split = Split(len(tokens), {"tokens": tokens}, rows)
    return Dataset(TOKENS, split, split)


def floats(low, high):
    """Float images, and what says that they are."""
    image = np.linspace(low, high, N * 48).reshape(N, 4, 4, 3).astype(np.float32)
    info = INFO._replace(dtypes={"image": "float32", "label": "int32"})
    both = {"image": image, "label": ARRAYS["label"]}
    return Dataset(info, Split(N, both, rows), Split(N, both, rows))


LAST = np.where(np.arange(N) == N - 1, -1, 0)
WRONG = {
    "floats of 0..255": (floats(0, 255), "train holds as 'image' float32 values from 0 to 255.*-1"),
    "floats below": (floats(-1.1, 1), "values from -1.1 to 1"),
    "labels 1..K": (held(label=ARRAYS["label"] + 1), r"'label' int32 values from 1 to 4.* 0 to 3"),
    "a label of -1": (held(label=LAST.astype(np.int32)), "from -1 to 0"),
    "fewer labels": (held(label=ARRAYS["label"][:5]), "5 rows of 'label' and length 20"),
    "no labels": (held(label=None), "train holds as 'label' nothing"),
    "a wrong length": (held(length=N - 1), r"train has length 19, 19 examples and in sizes 20"),
    "no channels": (held(image=ARRAYS["image"][..., 0]), r"uint8 \[20, 4, 4\].*'N', 4, 4, 3"),
    "another dtype": (held(image=ARRAYS["image"] / 255.0), "'image' float64 .* Info says uint8"),
    "labels one-hot": (held(label=np.eye(K, dtype=np.int32)[ARRAYS["label"]]), r"int32 \[20, 4\]"),
    "a flat image": (held(INFO._replace(shapes={"image": (48,), "label": ()})), r"uint8 \[48\];"),
    "no size": (held(INFO._replace(shapes={"image": (4, 0, 3), "label": ()})), r"\[4, 0, 3\];"),
    "booleans": (held(INFO._replace(dtypes={"image": "bool", "label": "int32"})), "is bool"),
    "no classes": (held(INFO._replace(num_classes=0)), "num_classes = 0 and there are 'label'"),
    "classes of nothing": (
        held(INFO._replace(shapes={"image": (4, 4, 3)}, dtypes={"image": "uint8"})),
        "num_classes = 4 and there are no 'label'",
    ),
    "no dtype": (held(INFO._replace(dtypes={"image": "uint8"})), r"dtypes of \['image'\]"),
    "no such split": (
        held(INFO._replace(sizes={"train": N})),
        "sizes are of .*eval_split = 'test'",
    ),
    "names short": (held(INFO._replace(class_names=("a", "b"))), "num_classes = 4 different"),
    "names twice": (held(INFO._replace(class_names=("a", "b", "a", "c"))), "num_classes = 4"),
    "an empty split": (
        Dataset(
            INFO._replace(sizes={"train": N, "test": 0}),
            Split(N, ARRAYS, rows),
            Split(0, {name: array[:0] for name, array in ARRAYS.items()}, rows),
        ),
        "test has length 0",
    ),
    "an id too large": (of_tokens(np.full((9, 5), 7, np.int32)), "'tokens' .* to 7; .* 0 to 6"),
    "a negative id": (of_tokens(np.full((9, 5), -1, np.int32)), "'tokens' .* from -1"),
    "a last streamed label": (
        streamed(label=LAST.astype(np.int32)),
        "example 19, holds as 'label'",
    ),
    "a gather of too few": (
        held()._replace(train=Split(N, ARRAYS, lambda arrays, i: rows(arrays, i + 1))),
        "train has length 20, which gather exceeds",
    ),
    "a gather of nothing": (
        held()._replace(train=Split(N, ARRAYS, lambda arrays, i: {"image": arrays["image"][i]})),
        "train gives as 'label' nothing",
    ),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_what_is_not_as_info_says_is_refused_and_named(what):
    dataset, told = WRONG[what]
    with pytest.raises(ValueError, match=f"^data.name = 'own': .*{told}"):
        conformance.check(dataset)
    with refusals.only_said() as said:  # a stored run goes on with what it has
        kept = conformance.check(dataset)
    assert said
    assert kept.train.source == dataset.train.source


def test_what_is_as_info_says_passes_as_it_is():
    for dataset in (held(), floats(-1, 1), floats(-1.0005, 1.0005), tiny_runs.images()):
        assert conformance.check(dataset) == dataset
    one = INFO._replace(sizes={"train": 1, "test": 1}, num_classes=1, class_names=("all",))
    single = {"image": ARRAYS["image"][:1], "label": np.zeros(1, np.int32)}
    split = Split(1, single, rows)
    conformance.check(Dataset(one, split, split))


def test_windows_are_looked_at_as_they_are_gathered():
    pieces = [np.arange(7) % 5, np.arange(6) % 5]
    split = piece_windows(pieces, 4, 1)
    info = TOKENS._replace(
        sizes={"train": split.length, "test": split.length},
        shapes={"tokens": (5,), "mask": (4,)},
        dtypes={"tokens": "int32", "mask": "float32"},
    )
    conformance.check(Dataset(info, split, split))
    with pytest.raises(ValueError, match=r"'tokens' int32 values from 0 to 4; accepted are 0 to 3"):
        conformance.check(Dataset(info._replace(vocab=4), split, split))
    heavy = split._replace(arrays=split.arrays | {"counts": 2 * split.arrays["counts"]})
    with pytest.raises(ValueError, match="'mask' float32 values from 0 to 2"):
        conformance.check(Dataset(info, heavy, split))


def test_streamed_examples_are_checked_when_they_are_read():
    labels = np.zeros(N, np.int32)
    labels[7] = 9  # not among those that are read beforehand
    checked = conformance.check(streamed(label=labels)).train.source
    assert checked[6]["label"] == 0
    for read in (lambda: checked[7], lambda: checked.__getitems__([6, 7])):
        with pytest.raises(ValueError, match="train, example 7, holds as 'label' int32 values"):
            read()


def test_what_is_no_data_set_is_said():
    with pytest.raises(ValueError, match=r"gives a dict; accepted is .*Dataset"):
        conformance.check({"image": ARRAYS["image"]})


def test_names_of_classes_without_labels_are_dropped():
    info = tiny_runs.IMAGES._replace(
        num_classes=0, shapes={"image": (8, 8, 1)}, dtypes={"image": "uint8"}, class_names=("a",)
    )
    assert conformance.check(tiny_runs.dataset(info)).info.class_names == ()


def test_dark_images_are_remarked_on():
    assert "no value of 'image' is below 0" in conformance.remark(floats(0, 1))
    assert "no value of 'image' is above 1" in conformance.remark(
        held(image=ARRAYS["image"] // 255)
    )
    assert not conformance.remark(floats(-1, 1))
    assert not conformance.remark(held())


def test_the_projects_own_sets_are_held_to_it_too(monkeypatch):
    wrong = WRONG["labels 1..K"][0]
    monkeypatch.setattr(build.data, "load", lambda section, tokenizer: wrong)
    with pytest.raises(ValueError, match="'label' int32 values from 1 to 4"):
        build.load_data({"data": {"name": "digits"}})


def test_what_is_known_beside_the_examples_stays_known():
    """Evaluation counts modes by it, and does without where it is not there."""
    dataset = held()._replace(mixture="its Gaussians", digits="its digits", tokenizer="its ids")
    assert conformance.check(dataset) == dataset
    assert build.load_data({"data": {"name": "ring"}}).mixture is not None
