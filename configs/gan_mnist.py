"""A class-conditional DCGAN on MNIST: `sample.py --label=7` draws sevens.

python train.py --config=configs/gan_mnist.py --workdir=runs/gan_mnist

Measured on 2 cores: 7 min with other work on the machine;
every class ≥ 9.1 % of 1,000 samples; confidence 0.979 ± 0.004.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model on embedded data, for a few steps."""
    config = dict(
        steps=2000,
        batch_size=64,
        ema_decay=0.998,
        log_every=50,
        eval_every=500,
        save_every=500,
        algorithm=dict(
            name="gan",
            generator="DcganGenerator",
            discriminator="DcganDiscriminator",
            loss="non_saturating",
            penalties={"r1": 0.1},
            conditional=True,
        ),
        optimizer=dict(
            generator=dict(
                name="adam",
                learning_rate=1e-3,
                learning_rate_schedule="cosine",
                b1=0.5,
            ),
            discriminator=dict(
                name="adam",
                learning_rate=1e-3,
                learning_rate_schedule="cosine",
                b1=0.5,
            ),
        ),
        data=dict(name="mnist"),
    )
    return variant(config, arg, name="digits", image_size=28)
