"""Paths with a colon: what is there is data, whatever else its name could mean."""

import pathlib

import pytest
from PIL import Image

from aigc_jax import build, config, names

RAW = {"algorithm": {"name": "vae"}}


def test_a_path_that_is_there_is_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("os:path").mkdir()
    assert not names.is_code("os:path")
    assert names.is_code("os:getcwd")
    assert not names.is_code("/mnt/a:b/images")  # of which no module could be the name
    assert not names.is_code("digits")


@pytest.mark.parametrize("trust", [None, ()])
def test_a_folder_with_a_colon_is_a_data_set(tmp_path, monkeypatch, trust):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        pathlib.Path("own:set").mkdir(exist_ok=True)
        Image.new("L", (6, 5), i).save(f"own:set/{i}.png")
    for name in ("own:set", str(tmp_path / "own:set")):
        section = {"name": name, "data_dir": str(tmp_path / "data"), "image_size": 8}
        completed = build.complete(RAW | {"data": section}, trust)
        assert completed["data"]["max_rejected"] == 0.01
        assert build.describe_data(completed).shapes["image"] == (8, 8, 1)
        assert build.load_data(completed, trust=trust).train.arrays["image"].shape[1:] == (8, 8, 1)


def test_a_stored_name_of_code_is_imported_only_if_trusted(tmp_path):
    completed = build.complete(RAW | {"data": {"name": "tiny_runs:images"}}, ())
    with pytest.raises(ValueError, match="--trust=tiny_runs"):
        build.load_data(completed, trust=())


def test_a_path_with_a_colon_that_is_not_there_is_said_to_be_none(tmp_path):
    with pytest.raises(ValueError, match="Accepted are .* the path of a folder"):
        build.describe_data(build.complete(RAW | {"data": {"name": f"{tmp_path}/own:set"}}))


def test_a_config_file_may_have_colons_in_its_name(tmp_path):
    path = tmp_path / "a:b.py"
    path.write_text("def get_config(argument):\n    return {'argument': argument}\n")
    assert config.load(str(path)) == {"argument": ""}
    assert config.load(f"{path}:x:y") == {"argument": "x:y"}
    assert config.file_and_argument("nowhere.py:test") == ("nowhere.py", "test")
