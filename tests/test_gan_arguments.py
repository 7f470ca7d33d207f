"""The arguments of the collapse configs: other games, all else equal."""

import commands
import pytest

from aigc_jax import build, config, identity
from aigc_jax.data import points

METHODS = ("ns", "ns_r1", "rp_r1r2", "wgan_gp", "pac2")
STACKED = ("pac2", "cpu", "cpu_pac2")


def configured(name, argument=""):
    spec = f"{commands.ROOT}/configs/{name}.py" + (f":{argument}" if argument else "")
    return build.configured(config.load(spec))


@pytest.mark.parametrize("name", ["gan_grid", "gan_ring"])
def test_every_method_is_a_game_that_differs_in_loss_penalties_and_packs_alone(name):
    default = configured(name)
    assert configured(name, "rp_r1r2") == default
    changed = set()
    for method in METHODS:
        found = configured(name, method)
        build.run(found, build.describe_data(found))
        keys = (line.split(":")[0] for line in identity.differences(default, found))
        changed |= {".".join(key.split(".")[:2]) for key in keys}
    assert changed == {"algorithm.loss", "algorithm.penalties", "algorithm.pack"}


@pytest.mark.parametrize("name", ["grid", "ring"])
def test_penalties_are_those_of_the_papers_coordinates(name):
    scale = points.SETS[name]().scale
    found = configured(f"gan_{name}")["algorithm"]["penalties"]
    assert found == pytest.approx({"r1": 0.05 / scale**2, "r2": 0.05 / scale**2})
    critic = configured(f"gan_{name}", "wgan_gp")["algorithm"]["penalties"]
    assert critic == pytest.approx({"wgan_gp": 0.1 / scale})


def test_packs_are_all_that_an_argument_changes_of_stacked_mnist():
    for one, other in (("", "pac2"), ("cpu", "cpu_pac2")):
        pair = configured("gan_stacked", one), configured("gan_stacked", other)
        assert identity.differences(*pair) == ["algorithm.pack: 1 -> 2"]
        for found in pair:
            build.run(found, build.describe_data(found))


@pytest.mark.parametrize(
    ("name", "argument", "nearest"),
    [("gan_grid", "ns_r2", "ns_r1"), ("gan_ring", "tset", "test"), ("gan_stacked", "pac3", "pac2")],
)
def test_an_unknown_argument_is_answered_with_the_nearest(name, argument, nearest):
    with pytest.raises(ValueError, match=f"'{argument}': unknown; did you mean '{nearest}'"):
        configured(name, argument)
