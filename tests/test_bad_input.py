"""Bad input is answered before any work, with exit code 2 and a message that helps."""

import pathlib

import commands
import flax.linen as nn
import pytest
from PIL import Image

from aigc_jax import build, parallel, start

ALL = ("gan", "vae", "attention")


class NormDiscriminator(nn.Module):
    """A discriminator with batch normalisation."""

    @nn.compact
    def __call__(self, image, label=None, *, train):
        h = nn.Dense(8)(image.reshape(image.shape[0], -1))
        return nn.Dense(1)(nn.BatchNorm(use_running_average=not train)(h))[:, 0]


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    """Compiling, restoring and preparing data are failures."""

    def forbidden(name):
        def work(*args, **options):
            raise AssertionError(f"{name} was called")

        return work

    for module, name in (
        *((parallel, "compile_init"), (parallel, "compile_step"), (parallel, "compile_eval")),
        *((start, "restore"), (build, "load_data")),
    ):
        monkeypatch.setattr(module, name, forbidden(name))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a finished run of the VAE and of the language model."""
    root = tmp_path_factory.mktemp("runs")
    text = root / "text.txt"
    text.write_text("the only words in the world are naïve ones\n" * 20)
    assert commands.train(root / "vae", "vae", "steps=2") == 0
    own = (f"data.name={text}", "ema_decay=0")
    assert commands.train(root / "attention", "attention", "steps=2", *own) == 0
    return root


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with all kinds of bad data."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "unreadable", "flat"):
        pathlib.Path(folder).mkdir()
    for name in ("a", "b", "c"):
        pathlib.Path("unreadable", f"{name}.png").write_text("no image")
        Image.new("L", (9, 9)).save(pathlib.Path("flat", f"{name}.png"))
    pathlib.Path("latin.txt").write_bytes("café ".encode("latin-1") * 200)
    pathlib.Path("short.txt").write_text("short")
    pathlib.Path("file").touch()
    return tmp_path


BATCH_NORM = f"algorithm.discriminator={__name__}:NormDiscriminator"
GAN = ("gan",)
# (families, overrides, what the message must say: key, value, rule, what would be accepted)
TRAINING = {
    "unknown key": (ALL, ("batchsize=3",), ("config.batchsize", "did you mean 'batch_size'?")),
    "unknown option": (GAN, ("algorithm.los=hinge",), ("config.algorithm.los", "'loss'")),
    "unknown network option": (
        *(GAN, ("algorithm.generator_args.width=3",)),
        ("config.algorithm.generator_args.width", "'widths'"),
    ),
    "unknown augmentation": (ALL, ("augment.flop=1",), ("config.augment.flop", "'flip'")),
    "unknown section": (ALL, ("optimiser.model.name=adam",), ("config.optimiser", "'optimizer'")),
    "wrong type": (ALL, ("batch_size=big",), ("config.batch_size = 'big'", "int")),
    "wrong type, float": (("vae",), ("algorithm.beta=big",), ("algorithm.beta = 'big'", "float")),
    "wrong type, bool": (ALL, ("deterministic=maybe",), ("config.deterministic", "bool")),
    "wrong type of None": (GAN, ("data.image_size=big",), ("data.image_size = 'big'", "int")),
    "wrong type, fraction": (GAN, ("data.image_size=8.5",), ("data.image_size = 8.5", "int")),
    "wrong type of a section": (ALL, ("data=digits",), ("config.data = 'digits'", "dict")),
    "wrong type in a network": (
        *(("attention",), ("algorithm.network_args.layers=many",)),
        ("network_args.layers = 'many'", "int"),
    ),
    "unknown loss": (
        *(GAN, ("algorithm.loss=hinje",)),
        ("config.algorithm.loss = 'hinje'", "'hinge'", "least_squares", "wasserstein"),
    ),
    "unknown likelihood": (
        *(("vae",), ("algorithm.likelihood=bernouli",)),
        ("config.algorithm.likelihood = 'bernouli'", "'bernoulli'", "gaussian"),
    ),
    "unknown penalty": (GAN, ("algorithm.penalties.r3=1",), ("penalties", "'r3'", "wgan_gp")),
    "unknown algorithm": (
        *(ALL, ("algorithm.name=gann",)),
        ("config.algorithm.name = 'gann'", "gan", "vae", "attention", "module:make"),
    ),
    "unknown network": (
        *(("attention",), ("algorithm.network=Transfomer",)),
        ("config.algorithm.network = 'Transfomer'", "'Transformer'", "RnnLanguageModel"),
    ),
    "network in no module": (
        *(GAN, ("algorithm.generator=nowhere:Net",)),
        ("config.algorithm.generator = 'nowhere:Net'", "importable module"),
    ),
    "unknown optimizer": (
        *(("vae",), ("optimizer.model.name=adamm",)),
        ("optimizer", "'adamm'", "adam", "adamw", "sgd", "lion"),
    ),
    "unknown schedule": (
        *(("vae",), ("optimizer.model.learning_rate_schedule=cosin",)),
        ("learning_rate_schedule = 'cosin'", "'cosine'"),
    ),
    "unknown data": (
        *(ALL, ("data.name=mnits",)),
        ("data.name = 'mnits'", "'mnist'", "digits", "cifar10", "folder of images", "text file"),
    ),
    "batch and accumulation": (
        *(ALL, ("batch_size=10", "accumulate=4")),
        ("config.batch_size = 10", "multiple", "config.accumulate = 4"),
    ),
    "batch and mesh": (
        *(ALL, ("batch_size=12", "mesh.data=8")),
        ("config.batch_size = 12", "multiple of 8", "mesh", "'data': 8"),
    ),
    "batch, accumulation and mesh": (
        *(ALL, ("batch_size=16", "accumulate=4", "mesh.data=8")),
        ("config.batch_size = 16", "multiple of 32", "mesh"),
    ),
    "mesh": (ALL, ("mesh.data=99",), ("config.mesh", "99", "at most the 8 devices")),
    "steps and calls": (
        *(ALL, ("steps=9", "steps_per_call=2")),
        ("config.steps = 9", "multiple", "config.steps_per_call = 2"),
    ),
    "interval and calls": (
        *(ALL, ("steps=8", "save_every=4", "eval_every=4", "log_every=3", "steps_per_call=2")),
        ("config.log_every = 3", "multiple", "config.steps_per_call = 2"),
    ),
    "interval of nothing": (ALL, ("save_every=0",), ("config.save_every = 0", "at least 1")),
    "precision": (
        *(ALL, ("precision=float16",)),
        ("config.precision = 'float16'", "float32", "bfloat16"),
    ),
    "parallel": (ALL, ("parallel=pmapp",), ("config.parallel = 'pmapp'", "pmap", "jit")),
    "metric to keep the best by": (
        *(("vae",), ("keep_best=elob",)),
        ("config.keep_best = 'elob'", "'elbo'", "distortion"),
    ),
    "profile": (ALL, ("profile_steps=7",), ("config.profile_steps = '7'", "A:B")),
    "freezing nothing": (("vae",), ("freeze=enc/",), ("config.freeze", "enc/", "decoder/Dense_0")),
    "not a regular expression": (("vae",), ("freeze=(",), ("'('", "regular expression")),
    "averages of no network": (GAN, ("ema_networks=gen",), ("ema_networks", "generator")),
    "sampler option": (
        *(("attention",), ("sampling.temprature=1",)),
        ("sampling.temprature", "'temperature'", "top_k"),
    ),
    "sampler option, type": (
        *(("attention",), ("sampling.top_k=few",)),
        ("sampling.top_k = 'few'", "int"),
    ),
    "image size": (
        *(GAN, ("data.image_size=7",)),
        ("7", "at least 8", "DcganGenerator", "MlpGenerator"),
    ),
    "labels that are not there": (
        *(GAN, ("data.name=flat", "algorithm.conditional=true")),
        ("conditional", "no labels"),
    ),
    "text for images": (GAN, ("data.name=python_text",), ("DcganGenerator", "shape", "data")),
    "images for text": (
        *(("attention",), ("data.name=digits", "data.context=64")),
        ("Transformer", "context", "data"),
    ),
    "empty folder": (GAN, ("data.name=empty",), ("empty", "no images", "DIR/*.png", ".jpg")),
    "unreadable images": (
        *(GAN, ("data.name=unreadable",)),
        ("unreadable", ".png", "can't be read", "PNG, JPEG"),
    ),
    "text that is not UTF-8": (
        *(("attention",), ("data.name=latin.txt",)),
        ("latin.txt", "0xe9", "offset 3", "UTF-8"),
    ),
    "text shorter than a context": (
        *(("attention",), ("data.name=short.txt",)),
        ("short.txt", "data.context", "16", "17"),
    ),
    "no such run to start from": (
        *(ALL, ("init_from=empty",)),
        ("config.init_from = 'empty'", "checkpoint"),
    ),
    "seed above 32 bits": (
        *(ALL, ("seed=4294967301",)),
        ("config.seed = 4294967301", "from 0 to 4294967295"),
    ),
    "seed below 0": (("vae",), ("seed=-1",), ("config.seed = -1", "from 0 to 4294967295")),
    "batch norm and penalty": (
        ("gan_digits.py:test",),
        (BATCH_NORM,),
        ("penalties", "r1", "NormDiscriminator"),
    ),
}


@pytest.mark.parametrize(
    ("family", "row"), [(f, row) for row, (families, *_) in TRAINING.items() for f in families]
)
def test_training_is_refused(here, capsys, family, row):
    _, overrides, said = TRAINING[row]
    assert commands.train("run", family, *overrides) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert [part for part in said if part not in message] == [], message
    assert not pathlib.Path("run").exists()


@pytest.mark.parametrize("flag", ["--config.steps", "--steps=3", "steps"])
def test_flags_that_do_not_exist_or_lack_a_value(here, capsys, flag):
    import train

    with pytest.raises(SystemExit, match="2"):
        train.main([*commands.train_args("run", "vae"), flag])
    assert f"error: {flag}: " in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["nowhere.py", "file.py", "file.json", "noise.json"])
def test_config_files_that_are_none(here, capsys, spec):
    pathlib.Path("file.py").write_text("steps = 3\n")
    pathlib.Path("file.json").write_text('{"config": ')
    pathlib.Path("noise.json").write_text("[1, 2]")
    import train

    assert train.main([f"--config={spec}", "--workdir=run"]) == 2
    assert f"--config={spec}" in capsys.readouterr().err


def test_workdir_of_another_config_lists_what_differs(runs, capsys):
    other = ("steps=4", "algorithm.beta=4", "seed=3", "eval_every=4")
    assert commands.train(runs / "vae", "vae", *other) == 2
    said = capsys.readouterr().err
    assert f"--workdir={runs / 'vae'}" in said
    assert "algorithm.beta: 1.0 -> 4.0" in said
    assert "seed: 0 -> 3" in said
    assert "steps" not in said
    assert "eval_every" not in said


def test_workdir_that_cannot_be_written(here, capsys):
    assert commands.train("file/run", "vae") == 2
    said = capsys.readouterr().err
    assert "--workdir=file/run" in said
    assert "cannot be written" in said


# (run, options, what the message must say)
SAMPLING = {
    "a folder without a checkpoint": ("empty", (), ("--workdir=", "empty", "no checkpoint")),
    "no folder": ("nowhere", (), ("--workdir=", "nowhere", "no checkpoint")),
    "a step without a checkpoint": ("vae", ("--step=1",), ("--step=1", "[0, 2]")),
    "an output below a file": ("vae", ("--out=file/out",), ("file/out", "cannot be written")),
    "a seed above 32 bits": ("vae", ("--seed=4294967301",), ("--seed=4294967301", "2**32 - 1")),
    "a seed of 300 digits": ("vae", (f"--seed={10**299}",), ("--seed=1000", "2**32 - 1")),
    "a seed below 0": ("vae", ("--seed=-1",), ("--seed=-1", "from 0")),
    "averages that are not kept": ("attention", ("--ema",), ("--ema", "keeps no averages")),
    "a step below 0": ("vae", ("--step=-1",), ("--step=-1", "[0, 2]")),
    "more than memory holds": ("vae", (f"--num={10**20}",), (f"--num={10**20}: would", "GiB")),
    "a longer path": ("vae", (f"--interpolate={10**20}",), ("--interpolate=1000", "GiB of memory")),
    "a longer text": (
        "attention",
        ("--max_tokens=2147483647",),
        ("--max_tokens=2147483647", "1000000"),
    ),
    "an option twice": ("attention", ("--top_k=1", "--top_k=2"), ("--top_k=1 2", "one value")),
    "a number of samples for a path": (
        *("vae", ("--interpolate=3", "--num=4")),
        ("--num", "nothing about --interpolate"),
    ),
    "a label": ("vae", ("--label=3",), ("--label=3", "unconditional")),
    "an option of others": ("vae", ("--temperature=1",), ("--temperature", "interpolate")),
    "a misspelt option": ("attention", ("--temprature=1",), ("--temprature", "'temperature'")),
    "a wrong type": ("attention", ("--top_k=few",), ("--top_k = 'few'", "int")),
    "no value": ("attention", ("--top_k",), ("--top_k", "exactly one value")),
    "a strange character": (
        "attention",
        ("--prompt=words ∀",),
        ("--prompt=words ∀", "'∀'", "6", "'w'"),
    ),
    "no prompt file": ("attention", ("--prompt_file=nothing",), ("--prompt_file=nothing", "read")),
    "a prompt not in UTF-8": ("attention", ("--prompt_file=latin.txt",), ("latin.txt", "UTF-8")),
    "two prompts": ("attention", ("--prompt=a", "--prompt_file=short.txt"), ("one of them",)),
    "one end of a path": ("vae", ("--interpolate=1",), ("--interpolate=1", "at least 2")),
    "half a step": ("vae", ("--interpolate=2.5",), ("--interpolate=2.5", "whole number")),
    "no image": ("vae", ("--reconstruct=latin.txt",), ("latin.txt", "image", "PNG")),
    "no images": ("vae", ("--reconstruct",), ("--reconstruct", "image files")),
}


@pytest.mark.parametrize("row", SAMPLING)
def test_sampling_is_refused(runs, here, capsys, row):
    run, options, said = SAMPLING[row]
    workdir = runs / run if run in ALL else run
    assert commands.sample(workdir, "out", *options) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert [part for part in said if part not in message] == [], message
    assert not any(pathlib.Path("out").glob("*"))


@pytest.mark.parametrize(
    "option",
    [
        *("--num=0", "--batch_size=-1", "--num=many", "--ema=1", "--out=", "--workdir=", "--num="),
        *("--seed=1.5", "--seed=nan", "--step=x", "--batch_size=1e3", "--num=true", "--noema=no"),
    ],
)
def test_flags_of_sampling_are_checked(runs, here, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        commands.sample(runs / "vae", "out", option)
    assert option.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GiB")])
def test_too_large_a_batch_is_said_in_a_line(monkeypatch, capsys, error):
    import sample

    def full(*args):
        raise error

    monkeypatch.setattr(sample, "sample", full)
    assert commands.sample("run", "out", "--batch_size=4096") == 2
    assert capsys.readouterr().err == "error: --batch_size=4096: out of memory; give less\n"
