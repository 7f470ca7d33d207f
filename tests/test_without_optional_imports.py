"""With its data prepared, a stored run trains without the libraries that prepared them."""

import commands
import pytest
from commands import FAMILIES

from aigc_jax import checkpoint

PREPARING = (
    *("tensorflow_datasets", "tensorflow", "grain", "array_record", "ml_collections"),
    *("sklearn", "tokenizers", "torch"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every family trained with all libraries, and again from its config.json without them."""
    root = tmp_path_factory.mktemp("runs")
    again = []
    for family in FAMILIES:
        assert commands.train(root / family, family) == 0
        stored = f"--config={root / family / 'config.json'}"
        argv = [stored, f"--workdir={root / 'again' / family}"]
        again.append({"script": "train", "argv": argv})
    code, said = commands.fresh(*again, blocked=PREPARING)
    assert code == 0, said
    return root


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_config_is_the_same_run(runs, family):
    assert checkpoint.steps(runs / "again" / family) == [2, 4]
    one, other = (checkpoint.read_run(runs / part / family) for part in (".", "again"))
    assert one["config"] == other["config"]
    assert one["digest"] == other["digest"]
    assert len(commands.rows(runs / "again" / family)) == len(commands.rows(runs / family))


def test_data_that_are_not_prepared_ask_for_what_prepares_them(tmp_path):
    argv = commands.train_args(tmp_path / "run", "vae", f"data.data_dir={tmp_path / 'data'}")
    code, said = commands.fresh({"script": "train", "argv": argv}, blocked=PREPARING)
    assert code != 0
    assert "tensorflow_datasets" in said
