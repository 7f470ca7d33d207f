"""A GAN of two multilayer perceptrons on MNIST.

python train.py --config=configs/gan_mlp_mnist.py --workdir=runs/gan_mlp_mnist

Time and result: not measured yet.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model on embedded data, for a few steps."""
    config = dict(
        steps=10000,
        batch_size=128,
        ema_decay=0.999,
        log_every=200,
        eval_every=2000,
        save_every=2000,
        algorithm=dict(
            name="gan",
            generator="MlpGenerator",
            discriminator="MlpDiscriminator",
            loss="non_saturating",
            penalties={"r1": 1.0},
        ),
        optimizer=dict(
            generator=dict(name="adam", learning_rate=2e-4, b1=0.5),
            discriminator=dict(name="adam", learning_rate=2e-4, b1=0.5),
        ),
        data=dict(name="mnist"),
    )
    return variant(config, arg, name="digits", image_size=28)
