"""How a game is going, from what a step has computed anyway."""

import jax
import jax.numpy as jnp


def mean_sign(logits: jax.Array) -> jax.Array:
    """E[sign D] of logits f32 [B]: towards 1 or -1 the discriminator is sure of all of them.

    On real examples it shows an overfitting discriminator (Karras et al., arXiv 2006.06676).
    """
    return jnp.mean(jnp.sign(logits.astype(jnp.float32)))


def relative_distance(fake: jax.Array, real: jax.Array) -> jax.Array:
    """The root-mean-square pairwise distance of images [B, H, W, C] over that of as many others.

    Healthy is 1; towards 0 all fakes are one. The mean squared distance of different rows is
    2 B / (B - 1) times their variance E ||x - E x||^2, and the factor cancels. 0 where the real
    ones do not differ.
    """
    variances = [jnp.sum(jnp.var(x.astype(jnp.float32), axis=0)) for x in (fake, real)]
    differ = variances[1] > 0
    return jnp.where(differ, jnp.sqrt(variances[0] / jnp.where(differ, variances[1], 1)), 0.0)
