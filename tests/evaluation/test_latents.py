"""A path through a conditional model's images is of one class from end to end."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from aigc_jax import core
from aigc_jax.evaluation import latents

SHAPE = (64, 64, 1)  # shown at its own size


def shown(labels, conditional=True):
    """Pictures of a model whose images are the grey level of the label that it is given."""

    def encode(state, batch, key):
        return {"latent": batch["image"].mean((1, 2, 3))[:, None]}

    def decode(state, batch, key):
        level = batch["label"] / 10 if conditional else batch["latent"][:, 0]
        return {"image": jnp.broadcast_to(level[:, None, None, None], (len(level), *SHAPE))}

    run = tiny_runs.run_of(tiny_runs.VAE)
    heads = {"encode": encode, "decode": decode}
    conditions = ("label",) if conditional else ()
    run = run._replace(algorithm=run.algorithm._replace(heads=heads, conditions=conditions))
    real = np.broadcast_to(np.arange(len(labels)).reshape(-1, 1, 1, 1) / 100, (len(labels), *SHAPE))
    real = real.astype(np.float32)
    return latents.Shown(run, core.new_state({}, {}), 0, real, real, np.array(labels, np.int32))


def levels(figure):
    """The grey levels [rows, STOPS + 2] of the middles of its pictures, in [-1, 1]."""
    return figure.pixels[2 + 32 :: 66, 2 + 32 :: 66, 0] / 127.5 - 1


def test_a_path_joins_two_images_of_one_class_under_its_label():
    found = levels(latents.paths(shown([3, 5, 3, 7, 5, 3, 3])))
    ends, classes = [(0, 2), (1, 4), (5, 6)], [3, 5, 3]  # numbers of images; the 7 has no partner
    np.testing.assert_allclose(found[:, 0], [a / 100 for a, _ in ends], atol=0.005)
    np.testing.assert_allclose(found[:, -1], [b / 100 for _, b in ends], atol=0.005)
    np.testing.assert_allclose(
        found[:, 1:-1], np.tile(classes, (latents.STOPS, 1)).T / 10, atol=0.005
    )


def test_without_labels_neighbours_are_joined():
    found = levels(latents.paths(shown([3, 5, 3, 7], conditional=False)))
    np.testing.assert_allclose(found[:, 0], [0, 0.02], atol=0.005)
    np.testing.assert_allclose(found[:, -1], [0.01, 0.03], atol=0.005)
    assert (np.diff(found[:, 1:-1], axis=1) >= 0).all()


def test_classes_of_one_image_have_no_paths():
    with pytest.raises(ValueError, match="3 held-out images hold no two of one class"):
        latents.paths(shown([0, 1, 2]))
