"""Our GAN workloads: one update of each network, as `configs/gan_mnist.py` would train it."""

from benchmarks.speed import arrays
from benchmarks.speed.ours import program
from benchmarks.speed.timed import Timed

ADAM = {"learning_rate": 2e-4, "b1": 0.5}


def dcgan(
    *, size: int, channels: int, batch: int, precision: str, penalty: str | None = None
) -> Timed:
    """DCGAN on images of size x size x channels; `penalty` names one of `gan.penalties`."""
    algorithm = {"name": "gan", "penalties": {penalty: 0.1} if penalty else {}}
    optimizer = {"generator": ADAM, "discriminator": ADAM}
    config = {"algorithm": algorithm, "optimizer": optimizer, "batch_size": batch}
    data = program.dataset_of_images(arrays.images(size, channels))
    return program.timed(config, data, precision)
