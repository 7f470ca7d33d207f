"""What the scaling study compiles: the project's own programs at the sizes that people train."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aigc_jax.data.dataset import Info

MESHES = ("data", "fsdp", "data x fsdp 8")


class Workload(NamedTuple):
    """A config, the data it is for, its batch and the meshes on offer for it."""

    title: str
    unit: str  # what an example is
    batch_per_device: int
    fixed_batch: int  # examples in all, where a fixed global batch is divided
    config: Mapping[str, Any]
    info: Info
    meshes: tuple[str, ...]


def _text(context: int, vocab: int) -> Info:
    return Info(
        name="text",
        sizes={"train": 10**9, "validation": 10**6},
        eval_split="validation",
        shapes={"tokens": (context + 1,)},
        dtypes={"tokens": "int32"},
        vocab=vocab,
    )


def _images(size: int) -> Info:
    return Info(
        name="images",
        sizes={"train": 10**7, "test": 10**5},
        eval_split="test",
        shapes={"image": (size, size, 3)},
        dtypes={"image": "uint8"},
    )


def _gpt(layers: int, heads: int, dim: int, remat: bool) -> dict[str, Any]:
    sizes = dict(layers=layers, heads=heads, dim=dim, vocab_multiple=128)
    return dict(
        algorithm=dict(name="attention", network_args=dict(**sizes, scan_layers=True, remat=remat)),
        optimizer=dict(model=dict(name="adamw", learning_rate=3e-4, clip_norm=1.0)),
        data=dict(name="python_text"),
    )


ADAM = dict(name="adam", learning_rate=2e-4)
GAN = dict(
    ema_decay=0.999,
    algorithm=dict(
        name="gan",
        latent_dim=512,
        generator="aigc_jax.vae.networks:ConvDecoder",
        generator_args=dict(features=(512, 512, 512, 512, 512, 256), hidden=1024),
        discriminator="DcganDiscriminator",
        discriminator_args=dict(widths=(128, 256, 512, 512, 512, 640)),
    ),
    optimizer=dict(generator=ADAM, discriminator=ADAM),
    data=dict(name="digits"),
)
AUTOENCODER = dict(
    algorithm=dict(
        name="vae",
        latent_dim=256,
        likelihood="gaussian",
        binarize="none",
        encoder="ConvEncoder",
        encoder_args=dict(features=(128, 256, 512, 512, 1024), hidden=384),
        decoder="ConvDecoder",
        decoder_args=dict(features=(1024, 512, 512, 256, 128), hidden=384),
    ),
    optimizer=dict(model=ADAM),
    data=dict(name="digits"),
)
GPT2 = _text(1024, 50257)
WORKLOADS: Mapping[str, Workload] = {
    "gpt2_124m": Workload(
        *("GPT-2 124M", "text of 1,024 tokens", 16, 512),
        *(_gpt(12, 12, 768, remat=False), GPT2, MESHES),
    ),
    "gpt2_1.5b": Workload(
        *("GPT-2 1.5B", "text of 1,024 tokens", 8, 512),
        *(_gpt(48, 25, 1600, remat=True), GPT2, MESHES),
    ),
    # Heads are divided over "tensor", and 25 of them are not by 8.
    "gpt2_1.5b_16": Workload(
        *("GPT-2 1.5B", "text of 1,024 tokens", 8, 512),
        *(_gpt(48, 16, 1600, remat=True), GPT2, ("fsdp x tensor 8",)),
    ),
    "gan_256": Workload(
        *("GAN of StyleGAN's size", "image, 256 x 256", 16, 1024),
        *(GAN, _images(256), MESHES),
    ),
    "autoencoder_256": Workload(
        *("autoencoder of VQGAN's size", "image, 256 x 256", 32, 1024),
        *(AUTOENCODER, _images(256), MESHES),
    ),
}
