"""What does not fit is refused by name before anything is compiled, and nothing else is."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from aigc_jax.gan import checks, networks

Z = jax.ShapeDtypeStruct((1, 6), jnp.float32)
IMAGE = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
GENERATOR = networks.MlpGenerator((8, 8, 1), widths=(4,))
DISCRIMINATOR = networks.MlpDiscriminator(widths=(4,))


class Normed(nn.Module):
    """A discriminator with the normalisation of that name."""

    norm: str

    @nn.compact
    def __call__(self, x, label=None, train=False):
        x = x.reshape(x.shape[0], -1)
        if self.norm == "batch":
            x = nn.BatchNorm(not train)(x)
        elif self.norm == "layer":
            x = nn.LayerNorm()(x)
        else:
            x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=train)
        return x.sum(-1)


class Undecided(nn.Module):
    """A discriminator with two logits per image."""

    @nn.compact
    def __call__(self, x, label=None, train=False):
        return nn.Dense(2)(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize(
    ("names", "num_classes", "conditional", "message"),
    [
        (("tokens",), 0, False, "needs images.*tokens"),
        (("image",), 0, True, "conditional=True.*no labels.*conditional=False"),
    ],
)
def test_options_that_the_data_cannot_serve(names, num_classes, conditional, message):
    with pytest.raises(ValueError, match=message):
        checks.options(names, num_classes, conditional)


def test_options_that_fit():
    checks.options(("image", "label"), 10, True)
    checks.options(("image",), 0, False)


def test_a_generator_of_another_size():
    wrong = networks.MlpGenerator((9, 8, 1))
    with pytest.raises(ValueError, match=r"MlpGenerator.*1, 9, 8, 1.*1, 8, 8, 1"):
        checks.shapes(wrong, DISCRIMINATOR, Z, None, IMAGE, IMAGE)


def test_a_discriminator_with_more_than_a_logit():
    with pytest.raises(ValueError, match=r"Undecided.*\[1, 2\].*\[B\] = \[1\]"):
        checks.shapes(GENERATOR, Undecided(), Z, None, IMAGE, IMAGE)


def test_players_that_fit():
    checks.shapes(GENERATOR, DISCRIMINATOR, Z, None, IMAGE, IMAGE)


def test_packs_that_fit():
    checks.packs(1, 7, True)
    checks.packs(2, 6, False)
    two = [jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype) for x in (Z, IMAGE)]
    packed = jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32)
    checks.shapes(GENERATOR, DISCRIMINATOR, two[0], None, two[1], packed)


@pytest.mark.parametrize(
    ("pack", "microbatch", "conditional", "message"),
    [
        (3, 8, False, r"pack = 3: config.batch_size / config.accumulate = 8 must be a multiple"),
        (2, 8, True, "pack = 2.*pack=1 with conditional=True, or conditional=False"),
    ],
)
def test_packs_that_do_not_fit(pack, microbatch, conditional, message):
    with pytest.raises(ValueError, match=message):
        checks.packs(pack, microbatch, conditional)


def test_a_penalty_on_batch_normalisation():
    with pytest.raises(ValueError, match="r1.*Normed has batch normalisation.*LayerNorm"):
        checks.penalties(["r1"], Normed("batch"), IMAGE, None)


@pytest.mark.parametrize(("norm", "names"), [("batch", []), ("layer", ["r1"]), ("sn", ["r1"])])
def test_other_normalisations_and_games(norm, names):
    checks.penalties(names, Normed(norm), IMAGE, None)
