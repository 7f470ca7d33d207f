"""Normalisation is exact; augmentations do what their names say and nothing when they are off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.preprocess import augment, mirrored, moved, normalise, prepare, transformed

KEY = jax.random.key(0)


@pytest.fixture
def raw():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 9, 8, 3), np.uint8)
    return {"image": images, "label": np.arange(6, dtype=np.uint8), "mask": np.ones((6, 2), "f4")}


def still(image, shift=(0, 0), angle=0.0, scale=1.0):
    return jax.jit(transformed)(image, jnp.array(shift, jnp.float32), angle, scale)


def test_bytes_become_the_range_from_minus_one_to_one():
    image = jnp.array([0, 255, 51], jnp.uint8).reshape(3, 1, 1, 1)
    batch = normalise({"image": image, "tokens": jnp.zeros((3, 5), jnp.uint16)})
    np.testing.assert_allclose(batch["image"].ravel(), [-1, 1, -0.6], atol=1e-6)
    assert (batch["image"].dtype, batch["tokens"].dtype) == (jnp.float32, jnp.int32)


def test_everything_off_is_normalisation_and_traces_nothing_else(raw):
    plain = jax.make_jaxpr(normalise)(raw)
    off = jax.make_jaxpr(lambda raw: prepare({})(KEY, raw))(raw)
    assert str(plain) == str(off)
    batch = normalise(raw)
    assert augment()(KEY, batch) is batch


ALL = {"flip": 0.5, "shift": 2, "rotate": 20.0, "scale": 0.2}


@pytest.mark.parametrize("name", [*ALL, "all"])
def test_ranges_labels_and_other_keys_stay(raw, name):
    options = ALL if name == "all" else {name: ALL[name]}
    batch = jax.jit(prepare(options))(KEY, raw)
    assert batch["image"].shape == raw["image"].shape
    assert jnp.abs(batch["image"]).max() <= 1 + 1e-6
    assert jnp.abs(batch["image"] - normalise(raw)["image"]).max() > 0.01
    np.testing.assert_array_equal(batch["label"], raw["label"])
    np.testing.assert_array_equal(batch["mask"], raw["mask"])


@pytest.mark.parametrize("name", list(ALL))
def test_an_image_changes_the_same_way_in_any_batch(raw, name):
    change = jax.jit(prepare({name: ALL[name]}))
    whole = change(KEY, raw)["image"]
    part = change(KEY, {k: v[:4] for k, v in raw.items()})["image"]
    np.testing.assert_allclose(whole[:4], part, atol=1e-6)


def test_keys_draw_differently_for_each_image_and_step():
    image = jnp.tile(jnp.linspace(-1, 1, 64).reshape(1, 8, 8, 1), (16, 1, 1, 1))
    change = jax.jit(augment(shift=3))
    one, two = (change(jax.random.key(i), {"image": image})["image"] for i in (0, 1))
    assert len(np.unique(one.reshape(16, -1), axis=0)) > 5
    assert jnp.abs(one - two).max() > 0


def test_two_certain_mirrors_are_the_identity(raw):
    batch = normalise(raw)
    once = augment(flip=1.0)(KEY, batch)
    np.testing.assert_array_equal(once["image"], batch["image"][:, :, ::-1])
    np.testing.assert_array_equal(augment(flip=1.0)(KEY, once)["image"], batch["image"])


def test_mirrors_come_with_their_probability():
    images = jnp.tile(jnp.array([-1.0, 1.0]).reshape(1, 1, 2, 1), (4000, 1, 1, 1))
    keys = jax.random.split(KEY, 4000)
    share = (mirrored(keys, images, 0.3)[:, 0, 0, 0] > 0).mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 4000) ** 0.5


@pytest.mark.parametrize("by", [(2, 0), (0, -3), (-1, 2)])
def test_whole_shifts_equal_rolling_inside_and_background_at_the_edge(raw, by):
    image = normalise(raw)["image"][0]
    shifted = still(image, by)
    rolled = np.array(jnp.roll(image, by, (0, 1)))
    rows = slice(max(by[0], 0), 9 + min(by[0], 0))
    columns = slice(max(by[1], 0), 8 + min(by[1], 0))
    inside = np.full_like(rolled, -1.0)
    inside[rows, columns] = rolled[rows, columns]
    np.testing.assert_allclose(shifted, inside, atol=1e-5)


def test_a_quarter_turn_equals_rot90():
    image = jax.random.uniform(KEY, (7, 7, 2), minval=-1)
    np.testing.assert_allclose(still(image, angle=jnp.pi / 2), jnp.rot90(image), atol=1e-4)


def test_scale_two_doubles_distances_from_the_centre():
    image = jnp.full((9, 9, 1), -1.0).at[4, 6].set(1.0)
    enlarged = still(image, scale=2.0)
    assert jnp.unravel_index(enlarged.argmax(), (9, 9)) == (4, 8)


def test_random_moves_reach_their_bounds_and_stay_in_them():
    image = jnp.full((400, 9, 9, 1), -1.0).at[:, 4, 4].set(1.0)
    keys = jax.random.split(KEY, 400)
    change = jax.jit(moved, static_argnums=(2, 3, 4))
    places = change(keys, image, 2, 0.0, 0.0).reshape(400, -1).argmax(1)
    rows, columns = np.unravel_index(places, (9, 9))
    assert set(rows) == set(columns) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize(
    "options", [{"flip": 1.5}, {"shift": -1}, {"shift": 0.5}, {"rotate": -3.0}, {"scale": 1.0}]
)
def test_values_out_of_range_are_refused_by_name(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"augment\.{name} = {value}"):
        augment(**options)


def test_data_without_images_can_not_be_augmented():
    with pytest.raises(ValueError, match="tokens"):
        augment(flip=0.5)(KEY, {"tokens": jnp.zeros((2, 3), jnp.int32)})
