"""Digests of arrays that are the same however an array is laid out, on devices or on the host.

An element is one 32-bit word w (two, where it has 64 bits). With its place i in the row-major
order of the whole array, a digest is the pair of sums over all elements, modulo 2^32,

    sum mix_c(w xor hash(i + c)) for two constants c,

where `mix` is a bijection of 32-bit words. A sum does not depend on who adds which part, so every
mesh and every number of processes gives the same digest, without gathering an array. Another value
of one word always changes both sums, since `mix` is a bijection; any other damage, such as two
words that have changed places, escapes with probability 2^-64.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.core import PyTree, path_name

# Odd fractions of 2^32: where the two sums start to count, and the factors of two mixers.
STARTS = (0x243F6A89, 0xB7E15163)
FACTORS = ((0x85EBCA6B, 0xC2B2AE35), (0x7FEB352D, 0x846CA68B))
PLACE = 0x9E3779B1
# Words per call on the host: a piece is filled up to one of these, for each of which is a program.
BLOCKS = (1 << 12, 1 << 15, 1 << 18, 1 << 21)


def of(tree: PyTree) -> dict[str, np.ndarray]:
    """{path: digest u32 [2]} of every leaf, an array of numbers, booleans or random keys.

    Arrays that other processes hold a part of are summed where they are: then all processes must
    call this together, and all get the result. Others are read by this process alone.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    sums = [on_host(leaf) if _is_local(leaf) else on_devices(leaf) for _, leaf in leaves]
    names = [path_name(path) for path, _ in leaves]
    return dict(zip(names, jax.device_get(sums), strict=True))


def text(digest: np.ndarray) -> str:
    """A digest u32 [2] as 16 hexadecimal digits."""
    return "".join(f"{int(word):08x}" for word in digest)


def _is_local(leaf: jax.Array | np.ndarray) -> bool:
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


@jax.jit
def on_devices(leaf: jax.Array) -> jax.Array:
    """The digest u32 [2] of one array laid out in any way, held by every device."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    words = _words(leaf)
    place = jnp.zeros((), jnp.uint32)
    for axis in range(words.ndim):
        stride = math.prod(words.shape[axis + 1 :]) % 2**32
        count = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        place = place + count * jnp.uint32(stride)
    return _sums(words, place)


def _words(leaf: jax.Array) -> jax.Array:
    """The bits of an array as u32, with one more axis of length 2 for elements of 64 bits."""
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag], -1)
    width = max(leaf.dtype.itemsize, 1)
    if width >= 4:
        return jax.lax.bitcast_convert_type(leaf, jnp.uint32)
    unsigned = jnp.uint8 if width == 1 else jnp.uint16
    return jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)


def _sums(words: jax.Array, place: jax.Array, inside: jax.Array | None = None) -> jax.Array:
    """u32 [2] of words at their places; one reduction for both, which is many times faster."""
    constants = zip(STARTS, FACTORS, strict=True)
    mixed = [_mixed(words, place, start, factors) for start, factors in constants]
    if inside is not None:
        mixed = [jnp.where(inside, m, jnp.uint32(0)) for m in mixed]
    add = lambda one, other: (one[0] + other[0], one[1] + other[1])
    zero = jnp.uint32(0)
    return jnp.stack(jax.lax.reduce(tuple(mixed), (zero, zero), add, tuple(range(words.ndim))))


def _mixed(words: jax.Array, place: jax.Array, start: int, factors: tuple[int, int]) -> jax.Array:
    first, second = (jnp.uint32(factor) for factor in factors)
    where = (place + jnp.uint32(start)) * jnp.uint32(PLACE)
    where = (where ^ (where >> 15)) * second
    mixed = words ^ where ^ (where >> 13)
    mixed = (mixed ^ (mixed >> 16)) * first
    mixed = (mixed ^ (mixed >> 13)) * second
    return mixed ^ (mixed >> 16)


def on_host(leaf: jax.Array | np.ndarray) -> np.ndarray:
    """The digest u32 [2] of one array that this process holds, by pieces of fixed length.

    So no program is compiled for a shape, and a large leaf needs little more memory.
    """
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    words = _host_words(np.asarray(leaf))
    with jax.default_device(_host_device()):
        parts = [_piece(words, start) for start in range(0, words.size, BLOCKS[-1])]
    total = sum((np.asarray(part, np.uint64) for part in parts), np.zeros(2, np.uint64))
    return (total & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def _host_words(array: np.ndarray) -> np.ndarray:
    """The bits of an array as u32 [n]; a view where an element has at least 32 bits."""
    flat = np.ascontiguousarray(array).reshape(-1)
    width = flat.dtype.itemsize
    if width >= 4:
        return flat.view(np.uint32)
    return flat.view(np.uint8 if width == 1 else np.uint16)


def _host_device() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # a program that was told to see accelerators only
        return None


def _piece(words: np.ndarray, start: int) -> jax.Array:
    piece = words[start : start + BLOCKS[-1]]
    count = np.int32(piece.size)
    block = next(size for size in BLOCKS if piece.size <= size)
    if piece.size < block:
        piece = np.pad(piece, (0, block - piece.size))
    return _piece_sums(piece, np.uint32(start % 2**32), count)


@jax.jit
def _piece_sums(words: jax.Array, start: jax.Array, count: jax.Array) -> jax.Array:
    place = jax.lax.iota(jnp.uint32, words.size)
    inside = place < count.astype(jnp.uint32)
    return _sums(words.astype(jnp.uint32), place + start, inside)
