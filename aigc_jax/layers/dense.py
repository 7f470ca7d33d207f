"""A dense layer that multiplies matrices only."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aigc_jax.layers.broadcast import broadcast


class Dense(nn.Module):
    """`nn.Dense` on [..., D] by way of [N, D]: same parameters, same values.

    The weight gradient of a dense layer on [B, T, D] makes XLA:CPU transpose both operands, which
    costs a transformer step about 30 %; on a matrix it is one plain product. The gradient of the
    bias is added up in float32 whatever the `dtype`, which that of `nn.Dense` is not.
    """

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., features]."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        flat = x.reshape(-1, x.shape[-1]).astype(self.dtype)
        y = jnp.matmul(flat, kernel.astype(self.dtype))  # [N, features]
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + broadcast(bias, y.shape, self.dtype)
        return y.reshape(*x.shape[:-1], self.features)
