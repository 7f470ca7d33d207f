"""Parameters that many positions share, in networks that compute in less than float32."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp


def broadcast(x: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    """A bias or rows of a table, f32, broadcast to `shape` and only then rounded to `dtype`.

    Values are those of rounding first. But the gradient of a broadcast is a sum over all that
    shared the parameter, and is taken in the dtype that was broadcast: in bfloat16 it stops growing
    at 256 times its terms.
    """
    return jnp.broadcast_to(x, shape).astype(dtype)
