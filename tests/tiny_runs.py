"""Runs of every family that compile in a second or two, shared by the tests of devices and state.

It is also a user's own module: `make` is an algorithm and `NormGenerator` a network of one's own.
"""

import string
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import build, core, feed, loop, parallel, start
from aigc_jax.data import tokenizers
from aigc_jax.data.dataset import Dataset, Info, Split, rows

IMAGES = Info(
    name="tiny",
    sizes={"train": 48, "test": 21},
    eval_split="test",
    shapes={"image": (8, 8, 1), "label": ()},
    dtypes={"image": "uint8", "label": "int32"},
    num_classes=3,
)
TEXT = Info(
    name="words",
    sizes={"train": 48, "validation": 21},
    eval_split="validation",
    shapes={"tokens": (9,)},
    dtypes={"tokens": "int32"},
    vocab=32,
)
SGD = {"name": "sgd", "learning_rate": 0.1}
VAE = {
    "algorithm": {
        "name": "vae",
        "latent_dim": 2,
        "encoder_args": {"hidden": (32,)},
        "decoder_args": {"hidden": (32,)},
    },
    "optimizer": {"model": {"name": "sgd", "learning_rate": 0.01}},
    "data": {"name": "digits"},
}
GAN = {
    "algorithm": {
        "name": "gan",
        "latent_dim": 4,
        "generator": "tiny_runs:NormGenerator",
        "discriminator": "MlpDiscriminator",
        "discriminator_args": {"widths": (32,)},
        "n_critic": 2,
    },
    "optimizer": {"generator": SGD, "discriminator": SGD},
    "data": {"name": "digits"},
}
ATTENTION = {
    "algorithm": {"name": "attention", "network_args": {"dim": 32, "layers": 1, "heads": 2}},
    "optimizer": {"model": SGD},
    "data": {"name": "python_text"},
}
AUTOENCODER = {
    "algorithm": {"name": "tiny_runs:make"},
    "optimizer": {"model": SGD},
    "data": {"name": "digits"},
}
FAMILIES = {"gan": GAN, "vae": VAE, "attention": ATTENTION}
EVERY = FAMILIES | {"autoencoder": AUTOENCODER}


class NormGenerator(nn.Module):
    """A generator of the user's own, with batch normalisation."""

    shape: tuple
    axis_name: str | None = None
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, z, label=None, *, train: bool):
        h = nn.Dense(32)(z)
        h = nn.relu(nn.BatchNorm(not train, momentum=0.9, axis_name=self.axis_name)(h))
        return jnp.tanh(nn.Dense(64)(h)).reshape(-1, *self.shape)


class NormAutoencoder(nn.Module):
    """Images [B, H, W, C] -> images, through one hidden layer with batch normalisation."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, train):
        h = nn.Dense(32)(image.reshape(image.shape[0], -1))
        h = jnp.tanh(nn.BatchNorm(not train, momentum=0.9, axis_name=self.axis_name)(h))
        return nn.Dense(image[0].size)(h).reshape(image.shape)


NAMES = {"network": sys.modules[__name__]}


def make(*, example, tx, accumulate=1, network="NormAutoencoder"):
    """An algorithm that draws no noise: mean squared error of a reconstruction."""
    blank = jnp.zeros((1, *example.batch["image"].shape[1:]))

    def variables(params, mutable):
        return {"params": params["net"], **mutable["net"]}

    def loss(params, mutable, batch, keys, step):
        out, new = network.apply(
            variables(params, mutable), batch["image"], True, mutable=["batch_stats"]
        )
        return jnp.mean((out - batch["image"]) ** 2), ({}, {"net": new})

    def reconstruct(state, image):
        return network.apply(variables(state.params, state.mutable), image, False)

    def evaluate(state, batch, key):
        errors = (reconstruct(state, batch["image"]) - batch["image"]) ** 2
        return {"error": errors.mean((1, 2, 3))}

    def sample(state, keys, cond):
        return {"image": reconstruct(state, core.normal(keys, blank.shape[1:]))}

    init = {"net": lambda key: network.init(key, blank, False)}
    return core.from_loss(loss, init, tx, eval=evaluate, sample=sample, accumulate=accumulate)


def dataset(info):
    """Random examples of `info`, in memory."""
    draw = np.random.default_rng(0)

    def split(length):
        high = {"image": 256, "label": info.num_classes, "tokens": info.vocab}
        arrays = {
            name: draw.integers(0, high[name], (length, *shape)).astype(info.dtypes[name])
            for name, shape in info.shapes.items()
        }
        return Split(length, arrays, rows)

    tokenizer = tokenizers.char("\n" + string.ascii_lowercase + "01234") if info.vocab else None
    sizes = info.sizes
    return Dataset(info, split(sizes["train"]), split(sizes[info.eval_split]), tokenizer)


def images():
    """A data set of the user's own, for `data.name = "tiny_runs:images"`."""
    return dataset(IMAGES)


def words():
    """The same for text."""
    return dataset(TEXT)


def info_of(raw):
    """The data that a config of this module is for."""
    return TEXT if raw["algorithm"]["name"] == "attention" else IMAGES


def run_of(raw, **changes):
    """The run of a config of this module with some top-level values changed."""
    config = build.complete({"batch_size": 16, **raw, **changes})
    return build.run(config, info_of(raw))


class Session:
    """A compiled run on a mesh, its state, and how to go on."""

    def __init__(self, raw, mesh=None, **changes):
        self.run = run_of(raw, **changes)
        self.mesh = parallel.make_mesh({"data": 1, "fsdp": 1, "tensor": 1} | (mesh or {}))
        self.data = dataset(self.run.info)
        self.compiled = loop.compile_run(self.run, self.data, self.mesh)
        self.shapes = jax.eval_shape(self.run.algorithm.init, jax.random.key(0))
        self.shardings = start.layout(self.run, self.mesh)[1]
        init = parallel.compile_init(self.run.algorithm, self.shardings)
        self.state = init(core.stream(0, core.INIT))

    def train(self, calls):
        """The metrics {name: [calls * steps_per_call]} of some more calls."""
        config, seen = self.run.config, []
        items = feed.training_items(
            self.data.train,
            seed=0,
            cursor=int(self.state.cursor),
            batch_size=config["batch_size"],
            batches_per_step=self.run.algorithm.batches_per_step,
            steps=feed.steps_per_call(config, self.data.train),
        )
        for _ in range(calls):
            key = core.stream(0, core.STEP)
            self.state, metrics, self.guard = self.compiled.step(
                self.state, self.compiled.arrays, next(items), key
            )
            seen.append(jax.device_get(metrics))
        return {name: np.concatenate([m[name] for m in seen]) for name in seen[0]}

    def evaluate(self):
        """The averages over the evaluation split."""
        return loop.evaluate(self.run, self.compiled, self.state)


def largest_difference(a, b):
    """Of any two numbers at the same place of two trees."""
    gap = lambda x, y: float(np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64)).max())
    return max(jax.tree.leaves(jax.tree.map(gap, a, b)), default=0.0)
