"""Image files as they are found: what they become, or why they are refused, in bounded memory."""

import io
import pathlib
import random
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import image_file
from aigc_jax.data.dirt import KINDS, Unusable


def encoded(value, name="PNG", mode="L", size=(8, 8), **options):
    """The bytes of a picture with a gradient, brighter by `value`."""
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 5 + value
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).convert(mode).save(file, name, **options)
    return file.getvalue()


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def bomb(side):
    """A valid black PNG of side x side pixels in a few kB."""
    rows, pack = (b"\0" + bytes((side + 7) // 8)) * 100, zlib.compressobj(9)
    packed = b"".join(pack.compress(rows) for _ in range(side // 100)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def animation():
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


DIRT = {
    "empty.png": (b"", "empty", "is empty"),
    "text.jpg": (b"no image", "other", "can't be read as PNG or JPEG"),
    "gif.png": (encoded(0, "GIF"), "other", "it is GIF"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "other", "Git LFS"),
    "cut.png": (encoded(0)[:-30], "unreadable", "can't be decoded"),
    "cut.jpg": (encoded(0, "JPEG", size=(64, 64))[:-90], "unreadable", "truncated"),
    "header.png": (encoded(0)[:20], "unreadable", "can't be decoded"),
    "bomb.png": (bomb(10_000), "bomb", "10000x10000 pixels; accepted are up to"),
    "larger.png": (bomb(20_000), "bomb", "400000000 pixels"),
    "moving.png": (animation(), "animated", "2 pictures"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", DIRT)
def test_each_kind_of_dirt_is_told_by_its_header_or_end(name, tmp_path):
    raw, kind, told = DIRT[name]
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(Unusable, match=told) as caught:
        image_file.shape(tmp_path / name)
    assert caught.value.kind == kind
    assert kind in KINDS


READ = {  # picture -> (channels from its header, grey levels of its first and last pixel)
    "grey": (encoded(50), 1, (50, 120)),
    "jpeg": (encoded(50, "JPEG", quality=100), 1, (50, 120)),
    "palette": (encoded(50, mode="P"), 3, (50, 120)),
    "cmyk": (encoded(50, "JPEG", mode="CMYK", quality=100), 3, (50, 120)),
    "alpha": (encoded(50, mode="LA"), 1, (50, 120)),
    "colour and alpha": (encoded(50, mode="RGBA"), 4, (50, 120)),
    "one bit": (encoded(0, mode="1"), 1, (0, None)),
}


@pytest.mark.parametrize("name", READ)
def test_unusual_pixels_are_read_as_what_they_show(name, tmp_path):
    raw, channels, (first, last) = READ[name]
    (tmp_path / "x.png").write_bytes(raw)  # whatever its name says
    assert image_file.shape(tmp_path / "x.png") == (8, 8, channels)
    pixels = image_file.decoded(tmp_path / "x.png", 3)
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    np.testing.assert_allclose(pixels[0, 0], first, atol=3)
    if last:
        np.testing.assert_allclose(pixels[-1, -1], last, atol=3)


def test_of_sixteen_bits_the_higher_eight_are_taken(tmp_path):
    levels = np.arange(0, 2**16, 2**10, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert image_file.shape(tmp_path / "x.png") == (8, 8, 1)
    np.testing.assert_array_equal(image_file.decoded(tmp_path / "x.png", 1)[..., 0], levels >> 8)


def test_the_header_gives_the_shape_of_the_upright_pixels(tmp_path):
    exif = Image.Exif()
    for turn in range(1, 9):
        exif[image_file.ORIENTATION] = turn
        for name in ("PNG", "JPEG"):
            path = tmp_path / f"{turn}.{name.lower()}"
            path.write_bytes(encoded(0, name, size=(8, 4), exif=exif))
            assert image_file.shape(path) == image_file.decoded(path, 1).shape
            assert image_file.shape(path)[:2] == ((8, 4) if turn > 4 else (4, 8))


def test_bombs_take_no_memory(tmp_path):
    for side in (10_000, 20_000):
        (tmp_path / f"{side}.png").write_bytes(bomb(side))
    code = f"""
import pathlib
from PIL import Image, PngImagePlugin
import numpy
from aigc_jax.data import image_file
Image.MAX_IMAGE_PIXELS = None  # the limit is not the user's
status = pathlib.Path("/proc/self/status")
peak = lambda: int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
for path in sorted(pathlib.Path({str(tmp_path)!r}).iterdir()):
    for read in (image_file.shape, lambda p: image_file.decoded(p, 3)):
        try:
            read(path)
        except ValueError as error:
            assert "accepted are up to 89,478,485 pixels" in str(error), error
        else:
            raise SystemExit(f"{{path}} was read")
assert peak() - before < 30, peak() - before
"""
    root = pathlib.Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def fuzzed(seeds, rng):
    """One of the seeds with bytes changed, cut off or put in."""
    raw = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 2, 5, 20])):
        what, at = rng.random(), rng.randrange(len(raw))
        if what < 0.6:
            raw[rng.choice([at, at % 64])] = rng.randrange(256)
        elif what < 0.8:
            del raw[at + 1 :]
        else:
            raw[at:at] = rng.randbytes(rng.randrange(1, 40))
    return bytes(raw)


def check_fuzzed(tmp_path, count):
    kinds = [("PNG", m) for m in ("L", "P", "RGBA")] + [("JPEG", m) for m in ("L", "RGB", "CMYK")]
    exif = Image.Exif()
    exif[image_file.ORIENTATION] = 6
    seeds = [encoded(0, n, m, (32, 24), exif=exif) for n, m in kinds]
    rng, read, told, path = random.Random(0), 0, set(), tmp_path / "x.png"
    for _ in range(count):
        path.write_bytes(fuzzed(seeds, rng))
        started = time.perf_counter()
        for call in (image_file.shape, lambda p: image_file.decoded(p, 3)):
            try:
                call(path)
                read += 1
            except Unusable as error:
                told.add(error.kind)
        assert time.perf_counter() - started < 2
    assert 0 < read < 2 * count
    assert told <= set(KINDS)


@pytest.mark.filterwarnings("ignore")  # Pillow's
def test_mutated_files_are_read_or_refused(tmp_path):
    check_fuzzed(tmp_path, 300)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_thousands_of_mutated_files_are_read_or_refused(tmp_path):
    check_fuzzed(tmp_path, 10_000)
