"""The one-layer model of Burda et al. (arXiv 1509.00519) on dynamically binarised MNIST.

python train.py --config=configs/vae_burda.py --workdir=runs/vae_burda
python train.py --config=configs/vae_burda.py:iwae --workdir=runs/vae_burda_iwae

Two layers of 200 tanh units each way, 50 latents, Adam with epsilon 1e-4, and learning rates that
fall in 8 stages; batches are of 100 images (the paper's: 20) and weights start as Flax's do. The
variants: a VAE with one draw of z for 160 passes, ":iwae" with 5 importance samples for 60, both
from 3e-3 on in equal stages of 0.6 times the rate before; ":published" and ":published_iwae50" (50
samples) for the paper's 3280 passes from 1e-3 on, each stage three times as long as the one before,
on a GPU.
`python -m benchmarks.quality.likelihood` finds their bounds on log p(x).

Measured on one core with other work on the machine: 10 to 13 min, a bound of 90.51 ± 0.53 nats (500
draws, whole test split); ":iwae" 8 to 9 min, 90.49 ± 0.12 nats. On a GPU: not measured yet.
"""

from aigc_jax.config import variant

PASS = 600  # steps, of 100 images each
PASSES = {"": 160, "iwae": 60, "published": 3280, "published_iwae50": 3280}
SAMPLES = {"": 1, "iwae": 5, "published": 1, "published_iwae50": 50}


def get_config(arg: str = "") -> dict:
    """The experiment or one of its variants; ":test" is its model on embedded data."""
    chosen = arg if arg in PASSES else ""
    samples, published = SAMPLES[chosen], chosen.startswith("published")
    network = dict(hidden=(200, 200), activation="tanh")
    config = dict(
        steps=PASSES[chosen] * PASS,
        batch_size=100,
        steps_per_call=PASS if published else 1,
        log_every=(40 if published else 2) * PASS,
        eval_every=(410 if published else 20) * PASS,
        save_every=(82 if published else 20) * PASS,
        algorithm=dict(
            name="vae",
            latent_dim=50,
            encoder_args=network | dict(black=0.0),
            decoder_args=network,
            objective="importance_weighted" if samples > 1 else "negative_elbo",
            importance_samples=samples,
        ),
        optimizer=dict(
            model=dict(
                name="adam",
                learning_rate=1e-3 if published else 3e-3,
                learning_rate_schedule="staircase",
                # Of a short course tripling stages would leave two thirds to the smallest rate.
                learning_rate_schedule_args=dict() if published else dict(growth=1.0, factor=0.6),
                b1=0.9,
                b2=0.999,
                eps=1e-4,
            )
        ),
        data=dict(name="mnist"),
    )
    return variant(config, arg, list(PASSES)[1:], name="digits", image_size=28)
