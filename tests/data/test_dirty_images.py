"""Image files as they are found: what they become, or why they are refused, in bounded memory."""

import io
import pathlib
import random
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import image_file, room
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


def bomb(side, depth=1, colour=0):
    """A valid black PNG of side x side pixels, each of `depth` bits, in a few kB."""
    rows, pack = (b"\0" + bytes((side * depth + 7) // 8)) * 100, zlib.compressobj(9)
    packed = b"".join(pack.compress(rows) for _ in range(side // 100)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, min(depth, 8), colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def animation(name):
    frames = [Image.new("L", (8, 8), value) for value in (10, 200)]
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:])
    return file.getvalue()


def wide_webp(side):
    """A WebP of a few bytes whose header says that it is side x side pixels."""
    raw = bytearray(encoded(0, "WEBP", lossless=True))
    raw[21:25] = ((side - 1) | (side - 1) << 14).to_bytes(4, "little")
    return bytes(raw)


DIRT = {
    "empty.png": (b"", "empty", "is empty"),
    "text.jpg": (b"no image", "other", "can't be read as PNG, JPEG, WebP or BMP"),
    "gif.png": (encoded(0, "GIF"), "other", "it is GIF"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "other", "Git LFS"),
    "cut.png": (encoded(0)[:-30], "unreadable", "can't be decoded"),
    "cut.jpg": (encoded(0, "JPEG", size=(64, 64))[:-90], "unreadable", "truncated"),
    "header.png": (encoded(0)[:20], "unreadable", "can't be decoded"),
    "bomb.png": (bomb(10_000), "bomb", "10000x10000 pixels; accepted are up to"),
    "larger.png": (bomb(20_000), "bomb", "400000000 pixels"),
    "moving.png": (animation("PNG"), "animated", "2 pictures"),
    "moving.webp": (animation("WEBP"), "animated", "2 pictures"),
    "cut.webp": (encoded(0, "WEBP", size=(64, 64))[:-20], "unreadable", "can't be"),
    "cut.bmp": (encoded(0, "BMP", size=(64, 64))[:-20], "unreadable", "truncated"),
    "bomb.webp": (wide_webp(6000), "bomb", "6000x6000 pixels; accepted are up to 29,826,161"),
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
    "webp": (encoded(50, "WEBP", mode="RGB", lossless=True), 3, (50, 120)),
    "bmp": (encoded(50, "BMP"), 1, (50, 120)),
    "colour bmp": (encoded(50, "BMP", mode="RGB"), 3, (50, 120)),
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
    (tmp_path / "z.webp").write_bytes(wide_webp(2**14))
    code = """
Image.MAX_IMAGE_PIXELS = None  # the limit is not the user's
for path in paths:
    for read in (image_file.shape, lambda p: image_file.decoded(p, 3)):
        try:
            read(path)
        except ValueError as error:
            assert "pixels; accepted are up to" in str(error), error
        else:
            raise SystemExit(f"{path} was read")
"""
    assert peak_of(tmp_path, code) < 30


def peak_of(folder, code):
    """MB that `code`, with the `paths` in a folder, adds to the peak of a fresh process."""
    around = f"""
import pathlib, warnings
import numpy
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from aigc_jax.data import image_file, inspection, room, verdicts
warnings.simplefilter("ignore")
root = pathlib.Path({str(folder)!r})
paths = sorted(root.iterdir())
status = pathlib.Path("/proc/self/status")
peak = lambda: int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
{code}
print(peak() - before)
"""
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-c", around]
    return float(subprocess.run(command, check=True, cwd=root, stdout=subprocess.PIPE).stdout)


def test_the_largest_accepted_picture_takes_bounded_memory(tmp_path):
    (tmp_path / "x.png").write_bytes(bomb(9400, 24, 2))  # 1.2 MB for 265 MB of pixels
    assert peak_of(tmp_path, "inspection.image_facts(paths[0])") < 550
    assert peak_of(tmp_path, "image_file.decoded(paths[0], 3)") < 700


def test_threads_that_find_large_pictures_cut_off_take_the_memory_of_one(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(bomb(9400, 24, 2)[:-30])
    code = """
room.share(room.of(1))
_, reasons, _ = verdicts.examined(root, [[path.name] for path in paths], None)
assert all(reasons), reasons
"""
    assert peak_of(tmp_path, code) < 550


def test_pictures_wait_for_room_and_none_for_ever():
    shared, largest = room.of(2), room.MAX_PIXELS
    before, now, most, lock = room._room, 0, 0, threading.Lock()

    def decode(pixels):
        nonlocal now, most
        with room.held(pixels):
            with lock:
                now += pixels
                most = max(most, now)
            time.sleep(0.001)
            with lock:
                now -= pixels

    room.share(shared)
    try:
        sizes = [largest, largest // 2, largest // 3] * 20
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(decode, sizes))
    finally:
        room.share(before)
    assert largest // 2 < most <= largest + 4 * room.UNIT
    assert shared.free.acquire(blocking=False)


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
    kinds += [("WEBP", m) for m in ("RGB", "RGBA")]
    seeds = [encoded(0, n, m, (32, 24), exif=exif) for n, m in kinds]
    seeds += [encoded(0, "BMP", m, (32, 24)) for m in ("L", "RGB")]
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
