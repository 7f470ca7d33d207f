"""A digest notices any change of an array and does not depend on where the array lives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax.storage import digests

DTYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "int8", "bool", "complex64")
WIDE = ("float64", "int64")  # of the host alone


def array_of(dtype, shape=(6, 40), seed=0):
    """An array with many different values."""
    draw = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 120, shape)
    return draw.astype(jnp.dtype(dtype))


def host(array):
    return digests.text(digests.on_host(array))


def devices(array):
    return digests.text(np.asarray(digests.on_devices(array)))


@pytest.mark.parametrize("dtype", [*DTYPES, *WIDE])
def test_every_flipped_bit_of_every_element_changes_it(dtype):
    array = array_of(dtype, (3, 4))
    seen = {host(array)}
    bits = array.view(np.uint8).reshape(-1)
    width = 1 if dtype == "bool" else 8
    for place, bit in itertools.product(range(bits.size), range(width)):
        bits[place] ^= 1 << bit
        seen.add(host(array))
        bits[place] ^= 1 << bit
    assert len(seen) == 1 + bits.size * width


@pytest.mark.parametrize("dtype", [*DTYPES, *WIDE])
def test_swapping_any_two_different_elements_changes_it(dtype):
    array = array_of(dtype, (30,))
    before = host(array)
    for i, j in itertools.combinations(range(array.size), 2):
        swapped = array.copy()
        swapped[[i, j]] = swapped[[j, i]]
        assert (host(swapped) == before) == (array[i] == array[j])


@pytest.mark.parametrize("values", [(0.0, -0.0), (np.nan, -np.nan), (1.0, -1.0)])
def test_values_that_differ_in_the_sign_alone_are_different(values):
    one = np.float32([*values, 3.0])
    assert host(one) != host(one[[1, 0, 2]])
    assert host(one) != host(np.float32([values[0], values[0], 3.0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_the_same_for_every_layout_and_on_the_host(dtype):
    array = array_of(dtype, (8, 16, 24))
    expected = host(array)
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    for spec in (P(), P("a"), P("b"), P(("a", "b")), P("b", "a"), P(None, "a", "b"), P(None, "b")):
        placed = jax.device_put(array, NamedSharding(mesh, spec))
        assert devices(placed) == host(placed) == expected
    assert digests.text(digests.of({"x": array})["x"]) == expected


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1 << 15, (1 << 21) + 5])
def test_large_arrays_are_read_in_pieces_without_a_seam(size):
    array = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
    assert host(array) == devices(jnp.asarray(array))
    if size:
        array[-1] += 1
        assert host(array) == devices(jnp.asarray(array))


def test_random_keys_have_digests():
    keys = jax.random.split(jax.random.key(0), 5)
    assert host(keys) == devices(keys)
    assert len({host(keys), host(keys[::-1]), host(keys.at[2].set(keys[1]))}) == 3


def test_the_length_of_a_tail_of_zeros_counts():
    assert len({host(np.zeros(n, np.float32)) for n in range(20)}) == 20


def test_leaves_are_named_by_their_paths():
    tree = {"a": [np.float32(1), jnp.float32(1)], "b": {"c": np.zeros((2, 2))}}
    found = digests.of(tree)
    assert list(found) == ["a/0", "a/1", "b/c"]
    assert digests.text(found["a/0"]) == digests.text(found["a/1"])
    assert all(d.dtype == np.uint32 and d.shape == (2,) for d in found.values())
    assert digests.text(np.uint32([1, 0xABCDEF01])) == "00000001abcdef01"
