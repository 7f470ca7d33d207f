"""Samples are a function of the workdir and the command alone, and say where they come from."""

import hashlib
import json
import shutil

import commands
import numpy as np
import pytest

from aigc_jax import checkpoint, request
from aigc_jax.media import images, provenance

PROMPT = "def "
DRAWN = "samples/step_0000004.png"  # what a training left
MARK = "import pathlib\npathlib.Path('marker').touch()\n"  # what an import leaves behind
OPTIONS = {  # by family: the samples of most tests
    "gan": ("--num=5",),
    "vae": ("--num=5",),
    "attention": ("--num=3", "--max_tokens=6", f"--prompt={PROMPT}"),
}
HOW = {  # what the files of these samples say of how they were drawn
    "gan": {"options": {"truncation": 1.0}},
    "vae": {},
    "attention": {
        "prompt": PROMPT,
        "options": {"max_tokens": 6, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
        | {"repetition_penalty": 1.0},
    },
}
FOREIGN = {
    "gan": ("--temperature=1", "--prompt=a", "--reconstruct=a.png"),
    "vae": ("--truncation=1", "--prompt=a", "--label=1", "--top_k=3"),
    "attention": ("--truncation=1", "--label=1", "--interpolate=3", "--reconstruct=a.png"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a run of every family, two checkpoints each; the GAN is conditional."""
    root = tmp_path_factory.mktemp("runs")
    plan = ("steps=4", "save_every=2", "eval_every=4")
    assert commands.train(root / "gan", "gan", *plan, "algorithm.conditional=true") == 0
    assert commands.train(root / "vae", "vae", *plan) == 0
    assert commands.train(root / "attention", "attention", *plan) == 0
    return root


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def drawn(workdir, out, *options):
    """The arrays of samples.npz."""
    assert commands.sample(workdir, out, *options) == 0
    with np.load(out / "samples.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("family", OPTIONS)
def test_same_command_writes_the_same_bytes(runs, tmp_path, family):
    for name in ("one", "other"):
        assert commands.sample(runs / family, tmp_path / name, "--seed=3", *OPTIONS[family]) == 0
    assert files(tmp_path / "one") == files(tmp_path / "other")
    assert commands.sample(runs / family, tmp_path / "new", "--seed=4", *OPTIONS[family]) == 0
    assert files(tmp_path / "one") != files(tmp_path / "new")


def test_only_the_workdir_is_read(runs, tmp_path):
    told = [
        {"script": "sample", "argv": [f"--workdir={runs / f}", f"--out={tmp_path / f}", *options]}
        for f, options in OPTIONS.items()
    ]
    forbidden = (commands.DATA.name, commands.ROOT / "configs", commands.ROOT / ".data")
    code, said = commands.fresh(
        *told, forbidden=forbidden, blocked=("tensorflow_datasets", "grain")
    )
    assert code == 0, said
    assert "def " in said
    for family, options in OPTIONS.items():
        assert commands.sample(runs / family, tmp_path / "here" / family, *options) == 0
        assert files(tmp_path / family) == files(tmp_path / "here" / family)


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_picture_is_the_same_for_any_number_and_batch_size(runs, tmp_path, family, monkeypatch):
    seen = []
    monkeypatch.setattr(images, "write_images", lambda folder, pixels, *rest: seen.append(pixels))
    for options in (["--num=5"], ["--num=3"], ["--num=5", "--batch_size=2"]):
        assert commands.sample(runs / family, tmp_path, *options) == 0
    five, three, pairs = seen
    assert [len(x) for x in seen] == [5, 3, 5]
    np.testing.assert_allclose(three, five[:3], atol=1e-5)
    np.testing.assert_allclose(pairs, five, atol=1e-5)
    assert not np.allclose(five[0], five[1])


def test_text_is_the_same_for_any_number_and_batch_size(runs, tmp_path):
    whole = OPTIONS["attention"]
    for name, options in {"three": (), "two": ("--num=2",), "ones": ("--batch_size=1",)}.items():
        assert commands.sample(runs / "attention", tmp_path / name, *whole, *options) == 0
    texts = {
        n: [t for k, t in sorted(files(tmp_path / n).items()) if k[:3].isdigit()]
        for n in ("three", "two", "ones")
    }
    assert texts["ones"] == texts["three"]
    assert texts["two"] == texts["three"][:4]  # 000.json, 000.txt, 001.json, 001.txt


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_raw_parameters_and_an_older_step_give_other_pictures(runs, tmp_path, family):
    averaged = drawn(runs / family, tmp_path / "ema", "--num=2", "--ema")["images"]
    raw = drawn(runs / family, tmp_path / "raw", "--num=2", "--noema")["images"]
    assert provenance.read(tmp_path / "raw" / "000.png")["parameters"] == "raw"
    older = drawn(runs / family, tmp_path / "older", "--num=2", "--step=2")["images"]
    np.testing.assert_array_equal(
        averaged, drawn(runs / family, tmp_path / "a", "--num=2")["images"]
    )
    assert (averaged != raw).any()
    assert (averaged != older).any()
    assert provenance.read(tmp_path / "older" / "000.png")["step"] == 2


@pytest.mark.parametrize("family", OPTIONS)
def test_every_file_says_that_it_is_generated_and_by_what(runs, tmp_path, family):
    assert commands.sample(runs / family, tmp_path, "--seed=7", *OPTIONS[family]) == 0
    digest = checkpoint.read_run(runs / family)["digest"]
    expected = {"generated": True, "run": family, "step": 4, "config_digest": digest, "seed": 7}
    expected |= {"parameters": "averaged"} | HOW[family]
    written = [path for path in tmp_path.iterdir() if path.suffix in (".png", ".npz", ".txt")]
    assert len(written) == {"gan": 7, "vae": 7, "attention": 4}[family]
    for path in written:
        mark = provenance.read(path)
        assert {k: mark[k] for k in expected} == expected


def test_labels_are_those_asked_for_or_all_in_turn(runs, tmp_path):
    asked = drawn(runs / "gan", tmp_path / "3", "--num=4", "--label=3")
    assert asked["label"].tolist() == [3] * 4
    in_turn = drawn(runs / "gan", tmp_path / "all", "--num=12")
    assert in_turn["label"].tolist() == [*range(10), 0, 1]
    assert (asked["images"][3] == in_turn["images"][3]).all()  # the same latent and label
    assert provenance.read(tmp_path / "all" / "011.png")["label"] == 1


def test_a_path_of_a_conditional_model_holds_the_label_that_is_asked_for(runs, tmp_path, capsys):
    path = drawn(runs / "gan", tmp_path / "path", "--interpolate=3", "--label=3")
    assert path["label"].tolist() == [3] * 3
    assert "class 3" in capsys.readouterr().err
    mark = provenance.read(tmp_path / "path" / "002.png")
    told = {"head": "interpolate", "num": 3, "index": 2, "parameters": "averaged"}
    told |= {"label": 3, "label_name": "3"}
    assert {name: mark[name] for name in told} == told
    assert commands.sample(runs / "gan", tmp_path / "none", "--interpolate=3") == 2
    assert "a path holds one class; give --label, 0 to 9" in capsys.readouterr().err


def test_a_folder_holds_the_samples_of_one_command(runs, tmp_path, capsys):
    assert commands.sample(runs / "vae", tmp_path, "--reconstruct", str(runs / "vae" / DRAWN)) == 0
    assert commands.sample(runs / "vae", tmp_path, "--num=12") == 0
    (tmp_path / "mine.png").write_bytes(b"")
    assert commands.sample(runs / "vae", tmp_path, "--num=2") == 0
    assert set(files(tmp_path)) == {"000.png", "001.png", "grid.png", "samples.npz", "mine.png"}
    assert f"removed 10 files of earlier samples from {tmp_path}" in capsys.readouterr().err
    (tmp_path / "mine.png").rename(tmp_path / "001.png")
    before = files(tmp_path)
    assert commands.sample(runs / "vae", tmp_path, "--num=3") == 2
    assert "holds a 001.png that carries no mark" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_samples_that_cannot_be_written_leave_earlier_ones(runs, tmp_path, capsys, monkeypatch):
    assert commands.sample(runs / "vae", tmp_path, "--num=2") == 0
    before, broken = files(tmp_path), {"image": np.full((3, 8, 8, 1), np.nan)}
    monkeypatch.setattr(request, "follow", lambda *args: (broken, None))
    assert commands.sample(runs / "vae", tmp_path, "--num=3") == 2
    assert "not finite" in capsys.readouterr().err
    assert files(tmp_path) == before


def test_interpolation_starts_and_ends_in_different_places(runs, tmp_path):
    path = drawn(runs / "vae", tmp_path, "--interpolate=5", "--seed=1")["images"].astype(int)
    assert len(path) == 5
    steps = np.abs(np.diff(path, axis=0)).sum((1, 2, 3))
    assert (steps > 0).all()
    assert np.abs(path[-1] - path[0]).sum() > steps.max()


def test_reconstruction_of_files_stands_beside_them(runs, tmp_path):
    assert commands.sample(runs / "vae", tmp_path / "one", "--num=2") == 0
    given = [str(tmp_path / "one" / name) for name in ("000.png", "001.png")]
    made = drawn(runs / "vae", tmp_path / "two", "--reconstruct", *given)["images"]
    assert made.shape == (2, 8, 8, 1)
    assert provenance.read(tmp_path / "two" / "pairs.png")["generated"]


def test_texts_continue_the_prompt_of_the_line_or_a_file(runs, tmp_path, capsys):
    (tmp_path / "prompt.txt").write_text(PROMPT)
    by_file = ("--num=3", "--max_tokens=6", f"--prompt_file={tmp_path / 'prompt.txt'}")
    assert commands.sample(runs / "attention", tmp_path / "line", *OPTIONS["attention"]) == 0
    assert capsys.readouterr().out.count(PROMPT) == 3
    assert commands.sample(runs / "attention", tmp_path / "file", *by_file) == 0
    assert files(tmp_path / "line") == files(tmp_path / "file")
    assert (tmp_path / "line" / "002.txt").read_bytes().startswith(PROMPT.encode())


def test_text_options_reach_the_sampler(runs, tmp_path):
    greedy = {
        "a": ("--temperature=0",),
        "b": ("--top_k=1", "--seed=5"),
        "c": ("--top_p=1e-6",),
        "d": ("--min_p=1", "--seed=6"),
    }
    for name, options in greedy.items():
        options = (*OPTIONS["attention"], "--num=1", *options)
        assert commands.sample(runs / "attention", tmp_path / name, *options) == 0
    texts = {(tmp_path / name / "000.txt").read_bytes() for name in greedy}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("family", "option"), [(f, option) for f, options in FOREIGN.items() for option in options]
)
def test_options_of_other_families_are_refused_by_name(runs, tmp_path, capsys, family, option):
    assert commands.sample(runs / family, tmp_path / "out", option) == 2
    assert option.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def copied(runs, tmp_path):
    """(family) -> a copy of its run."""
    return lambda family: shutil.copytree(runs / family, tmp_path / "copy" / family)


def metadata(workdir, step):
    """Where the JSON of a checkpoint stands."""
    (path,) = (checkpoint.folder(workdir) / str(step) / "meta").glob("metadata")
    return path


def resigned(stored):
    """Metadata with the digest that fits it."""
    content = {key: value for key, value in stored.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def plant(workdir, section, option, value):
    """Puts a value into the stored config, as one would who wants it to be believed."""
    path = metadata(workdir, 4)
    stored = json.loads(path.read_text())
    config = stored["run"]["config"]
    place = config["optimizer"]["generator"] if section == "optimizer" else config[section]
    place[option] = value
    path.write_text(json.dumps(resigned(stored)))
    (workdir / "config.json").write_text(json.dumps(stored["run"]))


@pytest.mark.parametrize(
    ("section", "option", "attribute"),
    [
        ("algorithm", "name", "make"),
        ("algorithm", "loss", "loss"),
        ("algorithm", "generator", "Generator"),
        ("algorithm", "penalties", "penalty"),
        ("data", "name", "load"),
        ("optimizer", "learning_rate_schedule", "schedule"),
    ],
)
def test_planted_code_is_never_imported_without_trust(
    copied, tmp_path, monkeypatch, capsys, section, option, attribute
):
    workdir, name = copied("gan"), f"planted:{attribute}"
    plant(workdir, section, option, {name: 1.0} if option == "penalties" else name)
    (tmp_path / "planted.py").write_text(MARK)
    monkeypatch.chdir(tmp_path)
    code = commands.sample(workdir, tmp_path / "out", "--num=1")
    said = capsys.readouterr().err
    assert not (tmp_path / "marker").exists()
    # Sampling needs no data, so that nothing asks for the code that loaded it.
    assert (code, "--trust=planted" in said) == ((0, False) if section == "data" else (2, True))


def test_trusted_code_is_imported(copied, tmp_path, monkeypatch):
    workdir = copied("gan")
    plant(workdir, "algorithm", "loss", "trusted:loss")
    (tmp_path / "trusted.py").write_text(MARK + "def loss(real, fake): return real, fake\n")
    monkeypatch.chdir(tmp_path)
    assert commands.sample(workdir, tmp_path / "out", "--num=1", "--trust=other") == 2
    assert not (tmp_path / "marker").exists()
    assert commands.sample(workdir, tmp_path / "out", "--num=1", "--trust=trusted") == 0
    assert (tmp_path / "marker").exists()


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_refused_and_no_other_taken(copied, tmp_path, capsys):
    workdir = copied("vae")
    parts = (checkpoint.folder(workdir) / "4" / "state").rglob("*")
    flip_bit(max((p for p in parts if p.is_file()), key=lambda p: p.stat().st_size))
    for asked in (["--step=4"], []):
        assert commands.sample(workdir, tmp_path / "four", "--num=1", *asked) == 2
        assert "no checkpoint could be restored" in capsys.readouterr().err
        assert not (tmp_path / "four" / "000.png").exists()
    assert commands.sample(workdir, tmp_path / "two", "--num=1", "--step=2") == 0
    assert provenance.read(tmp_path / "two" / "000.png")["step"] == 2


def test_a_checkpoint_with_another_digest_is_refused(copied, tmp_path, capsys):
    workdir = copied("vae")
    stored = json.loads(metadata(workdir, 4).read_text())
    stored["leaves"]["params/decoder/Dense_0/kernel"]["digest"] = "0" * 16
    metadata(workdir, 4).write_text(json.dumps(resigned(stored)))
    assert commands.sample(workdir, tmp_path / "out", "--num=1", "--step=4") == 2
    assert "params/decoder/Dense_0/kernel is damaged" in capsys.readouterr().err


def test_a_checkpoint_without_readable_metadata_is_refused(copied, tmp_path, capsys):
    workdir = copied("vae")
    metadata(workdir, 4).write_text('{"format": 1, ')
    assert commands.sample(workdir, tmp_path / "out", "--num=1", "--step=4") == 2
    assert str(checkpoint.folder(workdir) / "4") in capsys.readouterr().err
