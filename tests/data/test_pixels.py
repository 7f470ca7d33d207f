"""One decoder for all: what is transparent, and what few of 16 bits hold, is never lost unsaid."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from aigc_jax import refusals
from aigc_jax.data import cache, folder, image_file, images, inspection, load, pixels, previews
from aigc_jax.media import images as media
from aigc_jax.media import provenance

MARK = provenance.mark(run="runs/é", step=7, config_digest="abc", seed=1)
GLYPH = np.zeros((8, 8), np.uint8)
GLYPH[2:6, 2:6] = 255  # opaque there, and black


def levels(shape, seed=0):
    """Random uint8 pixels, and the same in [-1, 1]."""
    drawn = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return drawn, drawn.astype(np.float32) / 127.5 - 1


def glyph(kind):
    """A black square on transparent, in a way that PNG has for it, and how it is saved."""
    black, alpha = Image.new("L", (8, 8)), Image.fromarray(GLYPH)
    if kind == "LA":
        return Image.merge("LA", (black, alpha)), {}
    if kind == "RGBA":
        return Image.merge("RGBA", (black, black, black, alpha)), {}
    if kind == "palette":
        indexed = Image.fromarray(GLYPH // 255, mode="P")
        indexed.putpalette([0, 0, 200, 0, 0, 0])
        return indexed, {"transparency": 0}
    if kind == "colour key":
        return Image.merge("RGB", [Image.fromarray(255 - GLYPH)] * 3), {"transparency": (255,) * 3}
    if kind == "16 bits":
        return Image.fromarray((255 - GLYPH).astype(np.uint16) * 16), {"transparency": 4080}
    return Image.fromarray(255 - GLYPH), {"transparency": 255}  # a level


KINDS = ("LA", "RGBA", "palette", "colour key", "level", "16 bits")


def written(root, kind, count=3):
    root.mkdir(exist_ok=True)
    for i in range(count):
        image, how = glyph(kind)
        image.save(root / f"{i}.png", **how)
    return root


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_transparent_is_laid_on_the_background(kind, channels, tmp_path):
    path = written(tmp_path / "own", kind) / "0.png"
    for name, level in {"white": 255, "grey": 128, "black": 0}.items():
        seen = image_file.decoded(path, channels, name, 12)
        expected = np.where(GLYPH, 0, level)[..., None]
        np.testing.assert_array_equal(seen, np.broadcast_to(expected, (8, 8, channels)))


def test_half_transparent_is_between(tmp_path):
    Image.new("LA", (2, 2), (100, 51)).save(tmp_path / "x.png")  # alpha of a fifth
    seen = image_file.decoded(tmp_path / "x.png", 1, "white")
    np.testing.assert_allclose(seen, 100 * 0.2 + 255 * 0.8, atol=1)


@pytest.mark.parametrize("kind", ["LA", "RGBA", "palette"])
def test_with_four_channels_alpha_stays(kind, tmp_path):
    path = written(tmp_path / "own", kind) / "0.png"
    np.testing.assert_array_equal(image_file.decoded(path, 4, "white")[..., 3], GLYPH)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_with_transparency_needs_a_background(kind, tmp_path):
    root = written(tmp_path / "own", kind)
    config = {"name": str(root), "data_dir": str(tmp_path / "data"), "channels": 1, "bits": 16}
    with pytest.raises(
        ValueError, match=r"3 of 3 files \(0\.png\) may be transparent.*background="
    ):
        load.describe(config)
    with refusals.only_said() as said:  # a stored run sees what it saw
        old = load.load(config).train.arrays["image"]
    assert len(said) == 1
    assert (old[0] == image_file.decoded(root / "0.png", 1)).all()
    white, black = (
        load.load({**config, "background": name}).train.arrays["image"]
        for name in ("white", "none")
    )
    assert white[0, 0, 0] > 200  # not that of another background, from the cache
    np.testing.assert_array_equal(black, old)
    if kind in ("LA", "RGBA", "palette"):
        assert load.describe({**config, "channels": 4}).shapes["image"] == (8, 8, 4)


def ramp(bits):
    return (np.arange(256).reshape(16, 16) * 2 ** (bits - 8)).astype(np.uint16)


@pytest.mark.parametrize("bits", pixels.BITS)
def test_values_of_few_of_16_bits_keep_their_levels(bits, tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    for name in "abc":
        Image.fromarray(ramp(bits)).save(root / f"{name}.png")
    (root / "b.png").write_bytes(dark())  # which stays comparable with the others
    config = {"name": str(root), "data_dir": str(tmp_path / "data")}
    header = image_file.header(root / "a.png")
    assert (header.shape, header.bits) == ((16, 16, 1), bits)
    if bits < 16:
        with pytest.raises(
            ValueError, match=rf"of the 16 bits of 3 files only {bits} .*bits={bits}"
        ):
            load.describe(config)
        with refusals.only_said():
            load.describe(config)
    whole = np.concatenate([s.arrays["image"] for s in load.load(config | {"bits": bits})[1:3]])
    assert sorted(map(int, whole.max((1, 2, 3)))) == [200 >> (bits - 8), 255, 255]
    assert len(np.unique(whole)) >= 256
    if bits > 8:
        with pytest.raises(ValueError, match=rf"data\.bits = 8: a\.png .* values of {bits} bits"):
            load.describe(config | {"bits": 8})


def dark():
    file = io.BytesIO()
    Image.fromarray(np.full((16, 16), 200, np.uint16)).save(file, "PNG")
    return file.getvalue()


def test_data_without_either_are_what_they_were(tmp_path):
    """The same pixels from the same cache, whatever this version knows."""
    root = tmp_path / "own"
    root.mkdir()
    for i, mode in enumerate(("L", "L", "1", "L")):
        Image.fromarray(levels((8, 8), i)[0]).convert(mode).save(root / f"{i}.png")
    origin = folder.origin(root, None, None)
    assert origin.state == [folder.DECODING, sorted(origin.state[1])]
    held = images.load(origin, data_dir=tmp_path)
    key = cache.digest([origin.state, dict(held.info.sizes), dict(held.info.shapes)])
    assert (tmp_path / "arrays" / f"own-{key}").is_dir()


def test_reconstructions_read_as_training_does(tmp_path):
    root = written(tmp_path / "own", "LA")
    config = {"name": str(root), "data_dir": str(tmp_path / "data"), "background": "white"}
    trained = load.load(config).train.arrays["image"][0]
    seen = images.read(root / "0.png", (8, 8, 1), "white")
    np.testing.assert_allclose(seen, trained / 127.5 - 1, atol=1e-6)
    with pytest.raises(ValueError, match=r"0\.png.*is transparent, and the run has no"):
        images.read(root / "0.png", (8, 8, 1))
    Image.new("LA", (8, 8), (50, 255)).save(tmp_path / "opaque.png")
    np.testing.assert_allclose(images.read(tmp_path / "opaque.png", (8, 8, 1)), 50 / 127.5 - 1)
    Image.fromarray(ramp(12)).save(tmp_path / "deep.png")
    expected = ramp(8)[..., None] / 127.5 - 1
    seen = images.read(tmp_path / "deep.png", (16, 16, 1), bits=12)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    for name in ("deep.png", "dark.png"):
        (tmp_path / "dark.png").write_bytes(dark())
        with pytest.raises(ValueError, match="are used, and the run has data.bits = None"):
            images.read(tmp_path / name, (16, 16, 1))
    with pytest.raises(ValueError, match=r"of its 16 bits 12 are used.*data\.bits = 10"):
        images.read(tmp_path / "deep.png", (16, 16, 1), bits=10)


def test_cleaning_and_previews_see_the_same(tmp_path):
    other = Image.merge("LA", (Image.new("L", (8, 8)), Image.fromarray(255 - GLYPH)))
    other.save(tmp_path / "other.png")
    path = written(tmp_path / "own", "LA") / "0.png"
    facts = [inspection.image_facts(p) for p in (path, tmp_path / "other.png")]
    assert facts[0].digest != facts[1].digest
    assert np.ptp(facts[0].thumbnail) == 255
    Image.fromarray(ramp(12)).save(tmp_path / "deep.png")
    assert inspection.image_facts(tmp_path / "deep.png").thumbnail.max() == 255
    colour = written(tmp_path / "colour", "RGBA") / "0.png"
    assert np.ptp(inspection.image_facts(colour).thumbnail) == 255
    for shown in (previews.picture(path), previews.picture(colour)):
        with Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))) as picture:
            np.testing.assert_array_equal(np.asarray(picture.convert("L")), 255 - GLYPH)


@pytest.mark.parametrize(("key", "value"), [("background", "pink"), ("bits", 7), ("bits", 17)])
def test_values_without_a_meaning_are_refused(key, value):
    with pytest.raises(ValueError, match=f"data.{key} = {value!r}"):
        load.options(name="own", **{key: value})


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_written_picture_is_read_back(tmp_path, channels):
    pixels, values = levels((1, 12, 10, channels))
    media.write_png(tmp_path / "x.png", pixels[0], MARK)
    image = images.read(tmp_path / "x.png", (12, 10, channels))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, values[0], atol=1e-6)


def test_another_picture_is_cut_to_its_middle_resized_and_made_grey(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 17:43] = 255  # the middle square is white, and the 3 pixels that the filter reaches
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = images.read(tmp_path / "wide.png", (10, 10, 1))
    assert image.shape == (10, 10, 1)
    np.testing.assert_allclose(image, 1.0, atol=1e-6)


def test_what_is_no_picture_is_refused_by_name(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    whole = tmp_path / "whole.png"
    media.write_png(whole, levels((1, 64, 64, 3))[0][0], MARK)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "deep.png")
    for name in ("text.png", "cut.png", "deep.png", "absent.png"):
        with pytest.raises(ValueError, match=f"{name}.*cannot be read as an image"):
            images.read(tmp_path / name, (8, 8, 1))
