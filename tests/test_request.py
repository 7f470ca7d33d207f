"""What a command asks for: prompts, labels, paths, reconstructions, of runs without training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs
from PIL import Image

from aigc_jax import build, likeliest, memory, request, samples, written
from aigc_jax.data import tokenizers
from aigc_jax.media import music

CLASSES = tiny_runs.IMAGES.num_classes
LEVELS = np.linspace(-0.8, 0.8, CLASSES)  # of each class's images


class Blind(nn.Module):
    """A posterior that sees nothing."""

    @nn.compact
    def __call__(self, x, label, train):
        self.param("unused", nn.initializers.zeros, ())
        return jnp.zeros((len(x), 4))


class Flat(nn.Module):
    """An image of its class's grey level, whatever the latent."""

    @nn.compact
    def __call__(self, z, label, train):
        self.param("unused", nn.initializers.zeros, ())
        level = jnp.asarray(LEVELS, jnp.float32)[label]
        return jnp.broadcast_to(level[:, None, None, None], (len(z), 8, 8, 1))


CONDITIONAL = {
    "algorithm": {
        "name": "vae",
        **{"latent_dim": 2, "conditional": True, "likelihood": "gaussian", "binarize": "none"},
        **{"encoder": "test_request:Blind", "decoder": "test_request:Flat"},
    },
    "data": {"name": "digits"},
}


@pytest.fixture(scope="module")
def conditional():
    """A conditional autoencoder whose class is all there is to see, and its state."""
    run = build.run(build.complete(CONDITIONAL), tiny_runs.IMAGES)
    return run, run.algorithm.init(jax.random.key(0))


@pytest.fixture(scope="module")
def language():
    return tiny_runs.run_of(tiny_runs.ATTENTION), tiny_runs.dataset(tiny_runs.TEXT).tokenizer


@pytest.fixture
def files(tmp_path):
    """A picture of each class, the last first."""
    for i, level in enumerate(LEVELS[::-1]):
        grey = np.full((8, 8), round((level + 1) * 127.5), np.uint8)
        Image.fromarray(grey).save(tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(CLASSES)]


def drawn(conditional, words, **options):
    run, state = conditional
    asked = request.read(run, None, None, words)
    made, labels = request.follow(asked, run, state, 0, **({"batch_size": 64} | options))
    return asked, made["image"].mean((1, 2, 3)), labels


def test_new_samples_take_the_labels_in_turn(conditional):
    run, _ = conditional
    for words, expected in (({}, [0, 1, 2, 0, 1]), ({"label": ["2", "#0"]}, [2, 0, 2, 0, 2])):
        assert request.read(run, None, 5, words).cond["label"].tolist() == expected


def test_a_path_holds_one_class_which_must_be_given(conditional):
    _, levels, labels = drawn(conditional, {"interpolate": ["6"], "label": ["2"]})
    np.testing.assert_allclose(levels, LEVELS[2], atol=1e-6)
    assert labels.tolist() == [2] * 6
    for label in ({}, {"label": ["0", "2"]}):
        with pytest.raises(ValueError, match="--interpolate: a path holds one class; give --label"):
            request.read(conditional[0], None, None, {"interpolate": ["6"]} | label)


@pytest.mark.parametrize("batch_size", [64, 2])
def test_reconstructions_are_of_the_likeliest_class_and_say_so(conditional, files, batch_size):
    asked, levels, labels = drawn(conditional, {"reconstruct": files}, batch_size=batch_size)
    assert labels.tolist() == [2, 1, 0]
    np.testing.assert_allclose(levels, LEVELS[::-1], atol=1e-6)
    assert written.how(asked, labels)["labels"] == "the likeliest"
    assert "for want of --label: classes 2, 1, 0" in written.told(asked, labels, tiny_runs.IMAGES)


@pytest.mark.parametrize(("given", "expected"), [(["1"], [1] * 3), (["1", "1", "0"], [1, 1, 0])])
def test_reconstructions_take_the_labels_that_are_given(conditional, files, given, expected):
    asked, levels, labels = drawn(conditional, {"reconstruct": files, "label": given})
    assert labels.tolist() == expected
    np.testing.assert_allclose(levels, LEVELS[expected], atol=1e-6)
    assert "labels" not in written.how(asked, labels)
    names = written.columns(asked, labels, tiny_runs.IMAGES)
    assert names["source"] == ["0.png", "1.png", "2.png"]


def test_labels_that_cannot_be_inferred_or_matched_are_asked_for(conditional, files):
    run = conditional[0]
    with pytest.raises(ValueError, match="--label: 2 for 3 images"):
        request.read(run, None, None, {"reconstruct": files, "label": ["0", "1"]})
    heads = {k: v for k, v in run.algorithm.heads.items() if k != likeliest.HEAD}
    dumb = run._replace(algorithm=run.algorithm._replace(heads=heads))
    with pytest.raises(ValueError, match="--reconstruct: which class.*--label"):
        request.read(dumb, None, None, {"reconstruct": files})


@pytest.mark.parametrize("name", ["num", "truncation"])
def test_what_says_nothing_about_a_path_is_refused(name):
    changed = {"algorithm": tiny_runs.GAN["algorithm"] | {"conditional": False}}
    run = tiny_runs.run_of(tiny_runs.GAN | changed)
    words = {"interpolate": ["3"]} | ({} if name == "num" else {name: ["0.5"]})
    with pytest.raises(ValueError, match=f"--{name}: says nothing about --interpolate"):
        request.read(run, None, 9 if name == "num" else None, words)


def test_stored_options_are_defaults_that_words_replace(language):
    run, tokenizer = language
    stored = run._replace(config={**run.config, "sampling": {"top_k": 5, "temperature": 0.5}})
    asked = request.read(stored, tokenizer, 1, {"temperature": ["2"], "max_tokens": ["3"]})
    chosen = {"top_k": 5, "temperature": 2.0, "max_tokens": 3}
    assert asked.options == samples.options_of(run.algorithm) | chosen
    assert written.how(asked, None) == {"options": asked.options}


def ids_of(tokenizer, run, words):
    cond = request.read(run, tokenizer, 2, words).cond
    rows = cond["prompt"][:, : cond["prompt_length"][0]]
    assert (rows[0] == rows[1]).all()
    return rows[0].tolist()


def test_text_goes_on_from_the_prompt_itself(language):
    run, tokenizer = language
    assert ids_of(tokenizer, run, {"prompt": ["ab"]}) == tokenizer.encode("ab").tolist()
    assert ids_of(tokenizer, run, {}) == ids_of(tokenizer, run, {"prompt": [""]})
    assert ids_of(tokenizer, run, {"prompt": [""]}) == [tokenizer.start]


MUSIC = tokenizers.music()


@pytest.mark.parametrize(
    "prompt",
    [
        *("72 67 64 48 71 67 62 43", "| 72 67 64 48 71 67 62 43", "| 72 67"),
        *("72 67 64 48\n71 67 62 43\n", " \t72 67\n", ". . 64 48 71", "|", "", "\n"),
    ],
)
def test_music_starts_with_its_start_so_that_every_voice_keeps_its_place(prompt, language):
    ids = ids_of(MUSIC, language[0], {"prompt": [prompt]})
    assert ids == [MUSIC.start, *MUSIC.encode(prompt.replace("|", " "))]
    continued = [*ids, *MUSIC.encode("50 51 52 53 54 55 56 57")]  # what a model would sing next
    frames = music.frames_of(MUSIC.decode(continued))
    expected = MUSIC.decode(continued[1:]).replace(".", "-1").split()
    assert frames.reshape(-1).tolist() == list(map(int, expected))[: frames.size]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("72 67 64\n71 67 62 43", r"line 1 has 3 notes \(72 67 64\): accepted are frames of four"),
        ("| 72 67 64 48 | 71", "accepted only as a prompt's first word"),
        ("72 67 64 C3", "note 'C3' at position 3 is outside"),
    ],
)
def test_music_that_would_be_sung_by_other_voices_is_refused(prompt, said, language):
    with pytest.raises(ValueError, match=said) as raised:
        request.read(language[0], MUSIC, 1, {"prompt": [prompt]})
    assert str(raised.value).startswith(f"--prompt={prompt}: ")


def test_a_prompt_file_keeps_its_line_ends(tmp_path, language):
    (tmp_path / "prompt.txt").write_bytes(b"a\r\nb\n")
    byte = tokenizers.byte()
    words = {"prompt_file": [str(tmp_path / "prompt.txt")]}
    assert ids_of(byte, language[0], words) == list(b"a\r\nb\n")


WRONG = ("many", "-1", "0", str(10**30), "1e999", "nan", "", "true", "None", "[1]", "1_0", "0x10")
# Of these, what has a meaning; of the options that are not here, nothing has.
MEANT = {
    "temperature": {"0", str(10**30), "1_0", "0x10"},
    "truncation": {"0", str(10**30), "1_0", "0x10"},
    "repetition_penalty": {str(10**30), "1_0", "0x10"},
    "max_tokens": {"1_0", "0x10"},
    "top_k": {"0", "1_0", "0x10"},
    "min_p": {"0"},
    "label": {"0"},
    "interpolate": {"1_0"},
    "prompt": {"many", "true", "nan", "0", "0x10", str(10**30), ""},  # its characters are known
}
WALKED = {
    "attention": tiny_runs.ATTENTION,
    "gan": tiny_runs.GAN | {"algorithm": {"name": "gan", "conditional": True}},
    "vae": CONDITIONAL,
}


@pytest.mark.parametrize("family", WALKED)
def test_every_option_takes_what_has_a_meaning_and_says_what_has_none(family, language):
    run, tokenizer = tiny_runs.run_of(WALKED[family]), language[1]
    names = [*samples.options_of(run.algorithm), "prompt", "prompt_file", "label", *request.HEADS]
    conditions = [flag for key in run.algorithm.conditions for flag in request.FLAGS[key]]
    followed = [*samples.options_of(run.algorithm), *conditions]
    followed += [head for head in request.HEADS if head in run.algorithm.heads]
    assert set(followed) <= set(names)
    for name in names:
        beside = {"label": ["0"]} if name == "interpolate" and conditions else {}
        taken = set()
        for word in WRONG:
            try:
                request.read(run, tokenizer, None, {name: [word]} | beside)
                taken.add(word)
            except ValueError as error:
                said = str(error)
                assert said.startswith(f"--{name}"), said
                shown = word if word in said or word != "1e999" else "inf"  # what Python reads
                assert shown in said or name not in followed, said
                assert "\n" not in said
        assert taken == (MEANT.get(name, set()) if name in followed else set()), name


def test_a_million_points_take_little_memory_and_as_many_pictures_do_not(monkeypatch):
    monkeypatch.setattr(memory, "host", lambda: 2**33)
    run = tiny_runs.run_of(tiny_runs.AUTOENCODER)
    points = run._replace(info=run.info._replace(shapes={"image": (1, 1, 2)}))
    assert request.read(points, None, 10**6, {}).num == 10**6
    with pytest.raises(ValueError, match="--num=1000000: would take about .* GiB"):
        request.read(run, None, 10**6, {})


def test_music_without_a_frame_is_found_before_anything_is_written():
    drawn = {"tokens": np.array([MUSIC.encode("| 72 67 64 48")] * 2), "length": np.array([4, 5])}
    written.check(drawn, MUSIC)
    with pytest.raises(ValueError, match="2 pieces: none has a whole frame of 4 notes"):
        written.check(drawn | {"length": np.array([4, 1])}, MUSIC)
