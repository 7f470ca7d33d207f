"""The variants of configs/vae_burda.py: what they share, and the published schedule."""

import commands
import numpy as np
import pytest

from aigc_jax import build, config, schedules

VARIANTS = {"": 1, ":iwae": 5, ":published": 1, ":published_iwae50": 50}


def loaded(variant):
    return build.configured(config.load(f"{commands.ROOT}/configs/vae_burda.py{variant}"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_differ_in_samples_and_length_alone(variant):
    whole, base = loaded(variant), loaded("")
    build.run(whole, build.describe_data(whole))
    assert whole["algorithm"]["importance_samples"] == VARIANTS[variant]
    weighted = whole["algorithm"]["objective"] == "importance_weighted"
    assert weighted == (VARIANTS[variant] > 1)
    for changed in ("importance_samples", "objective"):
        whole["algorithm"].pop(changed), base["algorithm"].pop(changed)
    short = {"growth": 1.0, "factor": 0.6}
    stages, rate = ({}, 1e-3) if "published" in variant else (short, 3e-3)
    model, base_model = (c["optimizer"]["model"] for c in (whole, base))
    assert model.pop("learning_rate_schedule_args") == stages
    assert model.pop("learning_rate") == rate
    base_model.pop("learning_rate_schedule_args"), base_model.pop("learning_rate")
    for section in ("algorithm", "optimizer", "data", "batch_size"):
        assert whole[section] == base[section]


def test_the_published_variants_take_3280_passes():
    for variant in (":published", ":published_iwae50"):
        whole = loaded(variant)
        assert whole["steps"] * whole["batch_size"] == 3280 * 60_000
        model = whole["optimizer"]["model"]
        arguments = model["learning_rate_schedule_args"]
        rate = schedules.staircase(model["learning_rate"], steps=whole["steps"], **arguments)
        found = [float(rate(step)) for step in (0, 599, 600, 4 * 600 - 1, 4 * 600, 1093 * 600)]
        falls = 0.001 * 10 ** (-np.array([0, 0, 1, 1, 2, 7]) / 7)
        np.testing.assert_allclose(found, falls, rtol=1e-6)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="publishd.*iwae, published"):
        loaded(":publishd")
