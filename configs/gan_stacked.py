"""A DCGAN on Stacked MNIST, three digits in the channels of an image: how many of 1000 modes?

python train.py --config=configs/gan_stacked.py --workdir=runs/gan_stacked
python train.py --config=configs/gan_stacked.py:pac2 --workdir=runs/gan_stacked_pac2

The data, batch, optimiser and steps are those of VEEGAN and PacGAN (arXiv 1705.07761, 1712.04086),
for a GPU; the networks are the project's DCGAN, without dropout. `pac2` shows the discriminator two
images at once. `cpu` and `cpu_pac2` are scaled down for two cores and comparable with each other
only: 14x14 images, half the channels, 5,000 steps at a learning rate of 1e-3.

Time and result: not measured yet.
"""

from aigc_jax.config import variant

ARGUMENTS = ("pac2", "cpu", "cpu_pac2")


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model on embedded data, for a few steps."""
    small, packed = arg.startswith("cpu"), arg.endswith("pac2")
    steps = 5000 if small else 100_000
    adam = dict(name="adam", learning_rate=1e-3 if small else 2e-4, b1=0.5)
    config = dict(
        steps=steps,
        batch_size=64,
        ema_decay=0.999,
        log_every=steps // 50,
        eval_every=steps // 10,
        eval_batches=20,
        save_every=steps // 10,
        algorithm=dict(
            name="gan",
            generator="DcganGenerator",
            generator_args=dict(widths=(64, 64, 32) if small else (128, 128, 64)),
            discriminator="DcganDiscriminator",
            discriminator_args=dict(widths=(32, 64) if small else (64, 128), dropout=0.0),
            loss="non_saturating",
            pack=2 if packed else 1,
        ),
        optimizer=dict(generator=adam, discriminator=dict(adam)),
        data=dict(name="stacked_mnist", **(dict(image_size=14) if small else {})),
    )
    return variant(config, arg, ARGUMENTS, name="digits", channels=3)
