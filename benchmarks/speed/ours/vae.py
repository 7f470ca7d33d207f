"""Our VAE workloads: 20 latent dimensions on 28x28x1 images, dynamically binarised."""

from benchmarks.speed import arrays
from benchmarks.speed.ours import program
from benchmarks.speed.timed import Timed


def mlp(*, batch: int, precision: str) -> Timed:
    """Perceptrons, 784-512-256-20-256-512-784."""
    return _vae("Mlp", batch, precision)


def convolutional(*, batch: int, precision: str) -> Timed:
    """4x4 convolutions of stride 2 with 32 and 64 channels, and a dense layer of 256."""
    return _vae("Conv", batch, precision)


def _vae(kind: str, batch: int, precision: str) -> Timed:
    networks = {"encoder": f"{kind}Encoder", "decoder": f"{kind}Decoder", "latent_dim": 20}
    config = {
        "algorithm": {"name": "vae", **networks},
        "optimizer": {"model": {"learning_rate": 1e-3}},
        "batch_size": batch,
    }
    return program.timed(config, program.dataset_of_images(arrays.images(28, 1)), precision)
