"""A classifier of real images, which judges generated ones.

A perceptron of two hidden layers, fitted on the training split in half a minute on two cores: right
on 97.8 % of the test split of the 8x8 digits and on 98.2 % of MNIST's.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from aigc_jax import core, preprocess
from aigc_jax.data import cache, order
from aigc_jax.data.dataset import Dataset, Split

STEPS, BATCH, LEARNING_RATE = 4700, 128, 1e-3
Predict = Callable[[np.ndarray], np.ndarray]


class Classifier(nn.Module):
    """Images [B, H, W, C] in [-1, 1] -> class logits f32 [B, K]."""

    num_classes: int
    width: int = 512
    dropout: float = 0.3

    @nn.compact
    def __call__(self, image: jax.Array, train: bool = False) -> jax.Array:
        h = image.reshape(image.shape[0], -1)
        for _ in range(2):
            h = nn.relu(nn.Dense(self.width)(h))
            h = nn.Dropout(self.dropout, deterministic=not train)(h)
        return nn.Dense(self.num_classes)(h)


def fit(model: Classifier, split: Split, steps: int = STEPS, seed: int = 0) -> core.PyTree:
    """Parameters after `steps` of Adam on the cross-entropy, with a cosine learning rate."""
    tx = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    drawn = [order.indices(seed, cursor, BATCH, split.length) for cursor in range(steps)]
    key = jax.random.key(seed)

    def loss(params, batch, key):
        logits = model.apply({"params": params}, batch["image"], True, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    @jax.jit
    def trained(arrays, drawn):
        def step(carry, item):
            params, opt_state = carry
            count, rows = item
            batch = preprocess.normalise(split.gather(arrays, rows))
            grads = jax.grad(loss)(params, batch, jax.random.fold_in(key, count))
            params, opt_state, _ = core.update(tx, grads, opt_state, params)
            return (params, opt_state), None

        params = model.init(key, jnp.zeros((1, *arrays["image"].shape[1:])))["params"]
        items = (jnp.arange(steps), drawn)
        return jax.lax.scan(step, (params, tx.init(params)), items)[0][0]

    return trained(split.arrays, np.stack(drawn))


def fitted(dataset: Dataset, folder: pathlib.Path) -> Predict:
    """images f32 [N, H, W, C] in [-1, 1] -> class probabilities f32 [N, K].

    The parameters are fitted once per data set and kept in `folder`.
    """
    info = dataset.info
    model = Classifier(info.num_classes)
    key = cache.digest([info._asdict(), STEPS, BATCH, LEARNING_RATE])

    def parameters():
        return traverse_util.flatten_dict(fit(model, dataset.train), sep=".")

    stored = cache.cached(folder / f"classifier-{info.name}-{key}", parameters)
    params = traverse_util.unflatten_dict(stored, sep=".")
    apply = jax.jit(lambda image: jax.nn.softmax(model.apply({"params": params}, image)))
    return lambda images: np.asarray(apply(images))


def accuracy(predict: Predict, split: Split) -> float:
    """The fraction of a split that is classified right."""
    batch = preprocess.normalise(split.arrays)
    return float((predict(batch["image"]).argmax(-1) == batch["label"]).mean())


def judge(
    predict: Predict, images: np.ndarray, labels: np.ndarray | None = None
) -> Mapping[str, Any]:
    """What the classifier says of images f32 [N, H, W, C].

    {"shares": fraction of each class, "least_share": the smallest, "confidence": mean probability
    of the likeliest class} and, with the labels [N] they were made for, "agreement": the fraction
    classified so.
    """
    probabilities = predict(images)
    found = probabilities.argmax(-1)
    shares = np.bincount(found, minlength=probabilities.shape[-1]) / len(found)
    said = {
        "shares": shares.round(4).tolist(),
        "least_share": float(shares.min()),
        "confidence": float(probabilities.max(-1).mean()),
    }
    return said if labels is None else said | {"agreement": float((found == labels).mean())}


def mean_distance(images: np.ndarray) -> float:
    """The mean Euclidean distance between two different ones of images [N, ...], in pixel space."""
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    squares = (flat**2).sum(-1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0))
    np.fill_diagonal(distances, 0)
    return float(distances.sum() / (len(flat) * (len(flat) - 1)))
