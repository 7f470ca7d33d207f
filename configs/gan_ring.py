"""A GAN on 8 Gaussians on a circle, to see which of them it forgets.

python train.py --config=configs/gan_ring.py --workdir=runs/gan_ring
python train.py --config=configs/gan_ring.py:ns

The data are PacGAN's (Lin et al., arXiv 1712.04086); networks and budget are small: perceptrons of
3 x 128 and 12,000 steps of 100 points. The default is the relativistic loss with R1 and R2. An
argument takes another game, all else equal: `ns` non-saturating without a penalty, `ns_r1` with R1,
`rp_r1r2` the default, `wgan_gp` with as many updates of both players, `pac2` as `ns` in packs of 2.

Measured on one core: 0.2 to 0.6 min; 8 modes, a reverse KL of 0.0009 ± 0.0002 nats (all samples);
`ns`: 6 ± 2 modes, 0.28 ± 0.21 nats.
"""

from aigc_jax.config import variant

# The data are divided by SCALE, so that gradients are SCALE times those of the same critic by the
# papers' coordinates: a weight of their squares becomes 1 / SCALE^2 of itself. WGAN-GP makes the
# critic itself, and so its loss, SCALE times smaller, and the weight beside it follows.
SCALE = 2.5
R1, WGAN_GP = 0.05 / SCALE**2, 0.1 / SCALE
METHODS = {
    "ns": dict(loss="non_saturating", penalties={}),
    "ns_r1": dict(loss="non_saturating", penalties={"r1": R1}),
    "rp_r1r2": dict(loss="relativistic", penalties={"r1": R1, "r2": R1}),
    "wgan_gp": dict(loss="wasserstein", penalties={"wgan_gp": WGAN_GP}),
    "pac2": dict(loss="non_saturating", penalties={}, pack=2),
}


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model for a few steps, ":ns" and so on another game."""
    method = arg if arg in METHODS else "rp_r1r2"
    adam = dict(name="adam", learning_rate=1e-3, b1=0.0, b2=0.9)
    config = dict(
        steps=12000,
        batch_size=100,
        steps_per_call=1 if arg == "test" else 100,
        ema_decay=0.999,
        log_every=500,
        eval_every=3000,
        save_every=12000,
        num_samples=2500,
        algorithm=dict(
            name="gan",
            generator="MlpGenerator",
            generator_args=dict(widths=(128, 128, 128)),
            discriminator="MlpDiscriminator",
            discriminator_args=dict(widths=(128, 128, 128), dropout=0.0),
            latent_dim=2,
            **METHODS[method],
        ),
        optimizer=dict(generator=adam, discriminator=dict(adam)),
        data=dict(name="ring"),
    )
    return variant(config, arg, METHODS, name="ring")
