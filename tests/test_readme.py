"""The README's variants, run as they are printed but for fewer steps."""

import pathlib
import re

import pytest

import sample
import train
from aigc_jax import build, vocabulary, workdir

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
SECTION = README.partition("## Write your own variant")[2].partition("## Where things are")[0]
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", SECTION, re.S))
COMMANDS = re.findall(r"^python (train|sample)\.py (.*)$", SECTION, re.M)
FEW = ["--config.steps=2", "--config.eval_every=2", "--config.save_every=2", "--config.log_every=1"]
FEW += ["--config.num_samples=4", "--config.eval_batches=1", "--config.mesh.data=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of one's own with the README's files beside the project's configs."""
    configs = pathlib.Path(__file__).parent.parent.resolve() / "configs"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    (tmp_path / "configs").symlink_to(configs)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_kind_of_variant_is_there():
    assert set(FILES) >= {
        "my_losses.py",
        "my_networks.py",
        "my_data.py",
        "my_words.py",
        "my_flow.py",
    }
    assert len(COMMANDS) == 5


def test_every_command_works(folder, capsys):
    for script, words in COMMANDS:
        if script == "train":
            assert train.main(words.split() + FEW) == 0, words
        else:
            assert sample.main([*words.split(), "--num=4"]) == 0, words
    for run in ("smoothed", "deep", "discs", "flow"):
        assert list((folder / "runs" / run / "samples").glob("*.png"))
    assert (folder / "generated_images" / "grid.png").exists()


def test_own_words_are_described_loaded_and_made_again(folder):
    config = build.complete(
        {"algorithm": {"name": "attention"}, "data": {"name": "my_words:make", "context": 7}}
    )
    dataset = build.load_data(config)
    assert dataset.train.length + 7 + dataset.eval.length * 7 == pytest.approx(15 * 200, abs=7)
    again = vocabulary.stored(workdir.about(config, dataset), ["my_words"])
    assert again.decode(again.encode("the dog sat")) == "the dog sat"
