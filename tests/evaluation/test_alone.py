"""Each part of an evaluation stands alone: one that fails is refused, the rest is reported."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import build, core, evaluate, parallel, preprocess
from aigc_jax.data import points as mixtures
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.evaluation import features, images, plan, results
from aigc_jax.evaluation.study import Study

DIRECTIONS = {"brightness": "max"}  # as the module of an algorithm says it
CONFIG = {"seed": 0, "batch_size": 8, "algorithm": {"name": f"{__name__}:algorithm_of"}}
FLAGS = {
    "features": "",
    "noema": False,
    "inception_weights": "",
    "samples": 40,
    "iw_samples": 2,
    "seed": 0,
}


def data_of(shape, train=64, test=20, classes=0, **known):
    """Random images of a shape, float32 in [-1, 1]."""
    info = Info(
        name="own",
        sizes={"train": train, "test": test},
        eval_split="test",
        shapes={"image": shape} | ({"label": ()} if classes else {}),
        dtypes={"image": "float32"} | ({"label": "int32"} if classes else {}),
        num_classes=classes,
    )
    rng = np.random.default_rng(0)
    splits = []
    for length in (train, test):
        arrays = {"image": rng.uniform(-1, 1, (length, *shape)).astype(np.float32)}
        if classes:
            arrays["label"] = rng.integers(classes, size=length).astype(np.int32)
        splits.append(Split(length, arrays, rows))
    return Dataset(info, *splits, **known)


def algorithm_of(dataset, heads=None, sample=None):
    """One scale that is learnt; samples are scaled noise."""
    shape = dataset.info.shapes["image"]
    tx = {"model": optax.sgd(0.1)}

    def loss(params, mutable, batch, keys, step):
        return jnp.mean((batch["image"] - params["net"]["scale"]) ** 2), ({}, mutable)

    def evaluate(state, batch, key):
        return {"brightness": batch["image"].mean((1, 2, 3))}

    def noise(state, keys, cond):
        return {"image": state.params["net"]["scale"] * jnp.tanh(core.normal(keys, shape))}

    init = {"net": lambda key: {"params": {"scale": jnp.ones(())}}}
    return core.from_loss(loss, init, tx, eval=evaluate, sample=sample or noise, heads=heads)


def found_of(dataset, algorithm, tmp_path, sampling=None, **flags):
    """What all tasks of a run together find."""
    example = build.example_of(dataset.info, CONFIG["batch_size"])
    config = CONFIG | {"data": {"data_dir": str(tmp_path)}, "sampling": sampling or {}}
    normalise = lambda key, raw: preprocess.normalise(raw)
    run = build.Run(config, dataset.info, example, algorithm, normalise, normalise)
    mesh = parallel.make_mesh({"data": 1, "fsdp": 1, "tensor": 1})
    state = jax.device_put(algorithm.init(jax.random.key(0)), parallel.replicated(mesh))
    given = types.SimpleNamespace(**FLAGS | flags)
    found = results.nothing()
    for _, task in plan.tasks(plan.Subject(run, state, dataset, tmp_path, mesh, given), print):
        task(found)
    return found


def halves(pictures):
    """Features of one's own."""
    return pictures.reshape(len(pictures), 2, -1).mean(-1)


def test_eval_and_sample_are_enough(tmp_path):
    dataset = data_of((4, 4, 1))
    found = found_of(dataset, algorithm_of(dataset), tmp_path)
    mean = dataset.eval.arrays["image"].mean()
    assert found.metrics["brightness"].value == pytest.approx(mean, rel=1e-5)
    assert found.metrics["brightness"].samples == 20
    assert found.metrics["brightness"].better == "higher"
    assert {"pairwise_distance", "parameters"} <= set(found.metrics)
    assert {"samples", "nearest"} <= {figure.name for figure in found.figures}
    assert "has no labels" in found.refused["frechet_distance"]


def test_options_that_differ_are_said_by_every_metric_of_the_model(tmp_path):
    def scaled(state, keys, cond, *, width: float = 1.0):
        return {"image": width * jnp.tanh(core.normal(keys, (1, 1, 2)))}

    dataset = data_of((1, 1, 2))
    algorithm = algorithm_of(dataset, sample=scaled)
    found = found_of(dataset, algorithm, tmp_path, sampling={"width": 0.5}, noema=True)
    raw, sampled = (
        {name for name, metric in found.metrics.items() if said in metric.protocol}
        for said in ("; raw parameters, not averaged ones", "; sampled with width = 0.5")
    )
    cost = {"parameters", "seconds_to_first_sample", "sampling_speed"}
    assert raw == found.metrics.keys() - cost
    assert sampled == raw - {"brightness"}
    # What is the sampler's own default is not said: samplers of other models have other options.
    plain = found_of(dataset, algorithm, tmp_path, sampling={"width": 1.0})
    assert not [m for m in plain.metrics.values() if "width" in m.protocol or "raw" in m.protocol]


def broken(state, batch, key):
    """A head that does not keep to what evaluation asks of it."""
    return {"log_weight": state.params["missing"]}


def test_a_head_that_fails_costs_only_what_it_measures(tmp_path):
    dataset = data_of((4, 4, 1))
    heads = {"log_weights": broken, "reconstruct": broken, "interpolate": broken}
    found = found_of(dataset, algorithm_of(dataset, heads), tmp_path)
    for name in ("iw_bound", "reconstructions", "interpolations (figure)"):
        assert "KeyError: 'missing' (test_alone.py:" in found.refused[name], name
    assert {"pairwise_distance", "parameters"} <= set(found.metrics)


def test_a_sampler_that_fails_costs_what_needs_samples(tmp_path):
    dataset = data_of((4, 4, 1))
    algorithm = algorithm_of(dataset, sample=lambda state, keys, cond: {"image": cond["style"]})
    found = found_of(dataset, algorithm, tmp_path)
    assert "KeyError: 'style'" in found.refused["samples"]
    assert {"brightness", "parameters"} <= set(found.metrics)
    found = found_of(dataset, algorithm_of(dataset), tmp_path, sampling={"truncation": 0.5})
    assert "truncation" in found.refused["samples"]
    assert "brightness" in found.metrics
    sound = algorithm_of(dataset, sample=lambda state, keys, cond: {"sound": jnp.zeros((2, 9))})
    found = found_of(dataset, sound, tmp_path)
    assert "the sampler gives sound [9]" in found.refused["samples"]
    assert "brightness" in found.metrics


def test_what_stands_beside_the_numbers_needs_no_sampler_that_works(tmp_path):
    dataset = data_of((4, 4, 1))
    config = CONFIG | {"sampling": {"truncation": 0.5}, "ema_decay": 0.0}
    run = types.SimpleNamespace(config=config, algorithm=algorithm_of(dataset))
    subject = types.SimpleNamespace(
        run=run,
        state=types.SimpleNamespace(step=4),
        workdir=tmp_path,
        flags=types.SimpleNamespace(**FLAGS),
    )
    mark = evaluate._about(subject, {"digest": "d"}, 1.0)["mark"]
    assert (mark["step"], mark["options"]) == (4, {})


@pytest.mark.parametrize("train", [1, 2])
def test_hardly_any_training_images(train, tmp_path):
    dataset = data_of((4, 4, 1), train=train)
    found = found_of(dataset, algorithm_of(dataset), tmp_path, features=f"{__name__}:halves")
    assert "at least 3" in found.refused["frechet_distance"]
    assert {"brightness", "parameters", "sampling_speed"} <= set(found.metrics)
    assert "samples" in {figure.name for figure in found.figures}


def test_points_of_ones_own_are_compared_by_their_coordinates(tmp_path):
    dataset = data_of((1, 1, 2))
    found = found_of(dataset, algorithm_of(dataset), tmp_path)
    assert {"frechet_distance", "coverage", "brightness"} <= set(found.metrics)
    assert "their coordinates" in found.metrics["frechet_distance"].protocol
    assert [figure.name for figure in found.figures] == ["samples"]
    # Where the data say what they were drawn from, modes are counted, whatever their name is.
    found = found_of(dataset._replace(mixture=mixtures.ring()), algorithm_of(dataset), tmp_path)
    assert {"modes", "high_quality_share", "brightness"} <= set(found.metrics)
    assert found.metrics["modes"].floors


def test_points_of_a_conditional_model_have_the_labels_of_training_points(tmp_path):
    mixture = mixtures.ring()
    dataset = data_of((1, 1, 2), classes=8, mixture=mixture)
    dataset.train.arrays["label"][:] = 3
    means = (mixture.means / mixture.scale).reshape(-1, 1, 1, 2).astype(np.float32)
    perfect = lambda state, keys, cond: {"image": jnp.asarray(means)[cond["label"]]}
    algorithm = algorithm_of(dataset, sample=perfect)._replace(conditions=("label",))
    modes = found_of(dataset, algorithm, tmp_path).metrics["modes"]
    assert modes.value == 1  # in turn, they would be all eight
    assert "given the labels of training examples" in modes.protocol


def unbalanced(count, rng):
    """Images of eight classes of shares 1, 1/2, 1/3, ... with their labels."""
    share = 1 / np.arange(1, 9)
    label = rng.choice(8, size=count, p=share / share.sum()).astype(np.int32)
    return {"image": of_class(label, rng), "label": label}


def of_class(label, rng):
    """A pixel per class is bright."""
    noise = 0.1 * rng.standard_normal((len(label), 8))
    image = np.where(np.arange(8) == label[:, None], 0.8, -0.8) + noise
    return image.astype(np.float32).reshape(-1, 4, 2, 1)


def study_of(judge, draw, dataset):
    """A study of a conditional model of `dataset` that is nothing but its sampler."""
    algorithm = types.SimpleNamespace(conditions=("label",), heads={})
    run = types.SimpleNamespace(algorithm=algorithm, info=dataset.info)
    return Study(run, None, dataset, judge, "", 1000, 0, draw, {})


def flat(pictures):
    return pictures.reshape(len(pictures), -1), None


def test_a_perfect_generator_of_unbalanced_classes_is_at_the_floor():
    rng = np.random.default_rng(0)
    splits = [Split(count, unbalanced(count, rng), rows) for count in (2000, 1000)]
    dataset = Dataset(data_of((4, 2, 1), classes=8).info, *splits)
    asked = []

    def draw(num, cond):
        asked.append(cond["label"])
        return {"image": of_class(cond["label"], rng)}

    found = results.nothing()
    for title, task in images.tasks(study_of(features.Judge("pixels", flat), draw, dataset)):
        if "image" in title or "sample" in title or "Fréchet" in title or "precision" in title:
            task(found)
    distance = found.metrics["frechet_distance"]
    assert distance.value < 1.5 * distance.floors["train | train"] < 0.1
    assert found.metrics["coverage"].value > 0.95
    assert "given the label of one of them" in distance.protocol
    train = splits[0].arrays["label"][features.compared_rows(splits[0], 1000)]
    np.testing.assert_array_equal(asked[0], train)


@pytest.mark.parametrize("test", [400, 1500])
def test_data_sorted_by_class_have_the_floors_of_shuffled_ones(test):
    """Where fewer test images than others are compared, and where not all of them are."""
    rng, splits = np.random.default_rng(0), []
    for count in (2000, test):
        label = np.repeat(np.arange(8, dtype=np.int32), count // 8)
        splits.append(Split(len(label), {"image": of_class(label, rng), "label": label}, rows))
    dataset, found = Dataset(data_of((4, 2, 1), classes=8).info, *splits), results.nothing()
    study = study_of(
        features.Judge("pixels", flat),
        lambda num, cond: {"image": of_class(**cond, rng=rng)},
        dataset,
    )
    for title, task in images.tasks(study):
        if "image" in title or "drawing" in title or "Fréchet" in title or "two-sample" in title:
            task(found)
    for kind in ("train", "test"):
        assert found.metrics["frechet_distance"].floors[f"{kind} | train"] < 0.1
        accuracy = found.metrics["two_sample_accuracy"].floors[f"{kind} | train"]
        assert accuracy == pytest.approx(0.5, abs=0.06)
    # What is said of the first samples is said of all classes.
    assert set(study.looked["fake"].label[:100]) == set(range(8))


def test_probabilities_that_are_not_finite_cost_only_what_is_of_them():
    rng = np.random.default_rng(0)
    splits = [Split(count, unbalanced(count, rng), rows) for count in (2000, 1000)]
    dataset = Dataset(data_of((4, 2, 1), classes=8).info, *splits)
    blind = lambda pictures: (flat(pictures)[0], np.full((len(pictures), 8), np.nan))
    judge = features.Judge("a blind classifier", blind, classes=True, accuracy=0.9)
    draw = lambda num, cond: {"image": of_class(cond["label"], rng)}
    found = results.nothing()
    for title, task in images.tasks(study_of(judge, draw, dataset)):
        if "score" not in title:  # which trains a classifier
            task(found)
    assert {"frechet_distance", "density", "pairwise_distance"} <= set(found.metrics)
    assert "classifier_score" in found.refused
