"""Adversarial losses: (real_logits f32 [B], fake_logits f32 [B]) -> (d_loss f32 [], g_loss f32 []).

Both players always get both logits of equal-sized batches, so that relativistic losses are written
the same way; what a loss does not read costs nothing. Losses are means over examples, in float32.
"""

import jax
import jax.numpy as jnp

Losses = tuple[jax.Array, jax.Array]


def non_saturating(real_logits: jax.Array, fake_logits: jax.Array) -> Losses:
    """The original game with the generator's non-saturating loss, in nats.

    d = E[softplus(-D(x))] + E[softplus(D(G(z)))],  g = E[softplus(-D(G(z)))]
    (Goodfellow et al., arXiv 1406.2661).
    """
    real, fake = _float32(real_logits, fake_logits)
    d_loss = jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    return d_loss, jnp.mean(jax.nn.softplus(-fake))


def least_squares(real_logits: jax.Array, fake_logits: jax.Array) -> Losses:
    """Least squares towards the targets 1 for real and 0 for fake.

    d = E[(D(x) - 1)^2] / 2 + E[D(G(z))^2] / 2,  g = E[(D(G(z)) - 1)^2] / 2
    (LSGAN, Mao et al., arXiv 1611.04076, equation 9).
    """
    real, fake = _float32(real_logits, fake_logits)
    d_loss = 0.5 * jnp.mean((real - 1) ** 2) + 0.5 * jnp.mean(fake**2)
    return d_loss, 0.5 * jnp.mean((fake - 1) ** 2)


def hinge(real_logits: jax.Array, fake_logits: jax.Array) -> Losses:
    """Hinge loss: logits beyond the margin 1 teach the discriminator nothing.

    d = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))],  g = -E[D(G(z))]
    (Lim & Ye, arXiv 1705.02894; Miyato et al., arXiv 1802.05957).
    """
    real, fake = _float32(real_logits, fake_logits)
    d_loss = jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    return d_loss, -jnp.mean(fake)


def wasserstein(real_logits: jax.Array, fake_logits: jax.Array) -> Losses:
    """Kantorovich-Rubinstein dual; asks for a critic kept Lipschitz, as by the penalty `wgan_gp`.

    d = E[D(G(z))] - E[D(x)],  g = -E[D(G(z))]
    (WGAN, Arjovsky et al., arXiv 1701.07875).
    """
    real, fake = _float32(real_logits, fake_logits)
    return jnp.mean(fake) - jnp.mean(real), -jnp.mean(fake)


def relativistic(real_logits: jax.Array, fake_logits: jax.Array) -> Losses:
    """Relativistic pairing: each image is judged beside one of the other kind, in nats.

    d = E[softplus(-(D(x) - D(G(z))))],  g = E[softplus(-(D(G(z)) - D(x)))], where row i of the real
    logits is paired with row i of the fake (RpGAN, Jolicoeur-Martineau, arXiv 1807.00734). With the
    penalties `r1` and `r2` it is the loss of R3GAN (Huang et al., 2025).
    """
    real, fake = _float32(real_logits, fake_logits)
    return jnp.mean(jax.nn.softplus(fake - real)), jnp.mean(jax.nn.softplus(real - fake))


def _float32(real_logits: jax.Array, fake_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    return real_logits.astype(jnp.float32), fake_logits.astype(jnp.float32)
