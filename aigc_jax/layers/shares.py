"""Gradients of weights from a batch that devices share: each device adds up its own rows first.

What they found is then added as a product with ones. Compilers add up products of divided rows in
the best way for any mesh, to shares along the axes that divide the result and only these along the
others, while they add up anything else whole.
"""

import functools

import jax
import jax.numpy as jnp


def summed(x: jax.Array) -> jax.Array:
    """[ways, ...] -> [...], the sum over the devices that share a batch."""
    if len(x) == 1:
        return x[0]
    return jnp.tensordot(jnp.ones(len(x), x.dtype), x, 1, precision="highest")


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def lookup(ways: int, table: jax.Array, indices: jax.Array) -> jax.Array:
    """Rows of a table [V, D]: i32 [B, ...] -> [B, ..., D], `ways` devices sharing B."""
    return jnp.take(table, indices, axis=0)


def _lookup_forward(ways, table, indices):
    return lookup(ways, table, indices), (indices, jnp.zeros_like(table))


def _lookup_backward(ways, saved, cotangent):
    indices, zeros = saved
    own = lambda x, tail: x.reshape(ways, -1, *tail)
    found = jax.vmap(lambda i, x: zeros.at[i].add(x.astype(zeros.dtype)))
    return summed(found(own(indices, ()), own(cotangent, zeros.shape[1:]))), None


lookup.defvjp(_lookup_forward, _lookup_backward)
