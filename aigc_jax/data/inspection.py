"""What cleaning has to know of one file: a digest, a hash, a thumbnail and cheap features."""

import hashlib
import math
import pathlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aigc_jax.data import image_file, midi, pixels, text_file

SIDE = 16  # of a thumbnail; 256 values
MARGIN = 4  # grey levels of 255 between neighbours that count as a step: noise in skies does not
LARGEST = 128  # pixels of the longer side that features are taken from
SHINGLE = 8  # bytes of text, or of notes, that are hashed together


class Facts(NamedTuple):
    """Of one file: equal digests are copies; near ones have hashes of few different bits."""

    digest: str
    hash: int  # of 64 bits
    thumbnail: np.ndarray  # uint8 [256]
    features: tuple[float, ...]
    shape: tuple[int, int, int] = (0, 0, 0)  # [H, W, C] of images


class Kind(NamedTuple):
    """A kind of data: its files' endings, and what is measured of each."""

    name: str
    suffixes: tuple[str, ...]
    facts: Callable[[pathlib.Path], Facts]  # raises Unusable
    features: tuple[str, ...]  # their names


def image_facts(path: pathlib.Path) -> Facts:
    """Of an image: SHA-256 of its pixels, and a hash of its brighter and darker sides.

    Transparent places are seen on white, and 16 bits by the range that the file uses. Bit i of the
    hash says whether brightness rises by more than 4 levels at place i of a 8 x 8 grid (a
    difference hash), which compression, size and exposure hardly change.
    """
    from PIL import Image

    with image_file.picture(path, background="white", bits=pixels.OWN) as picture:
        shape = (picture.height, picture.width, len(picture.getbands()))
        sha = hashlib.sha256(repr(shape).encode())
        for strip in image_file.strips(picture):
            sha.update(np.ascontiguousarray(strip))
        opaque = pixels.in_mode(picture, "RGB", "white") if shape[2] == 4 else picture
        grey = opaque.convert("L")
        steps = np.diff(np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16), axis=1)
        thumbnail = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1)
        del grey  # of a large picture it is large, too
        opaque.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX, reducing_gap=2)
        small = np.asarray(opaque.convert("RGB"), np.float32)
    measured = _image_features(small, shape, path.stat().st_size)
    return Facts(sha.hexdigest(), _packed(steps > MARGIN), thumbnail, measured, shape)


IMAGE_FEATURES = (
    "area",
    "aspect ratio",
    "bytes per pixel",
    "brightness",
    "contrast",
    "entropy",
) + (*("edges", "noise", "colour", "black and white"),)


def _image_features(
    colours: np.ndarray, shape: tuple[int, int, int], size: int
) -> tuple[float, ...]:
    height, width, _ = shape
    grey = colours.mean(axis=2)
    share = np.bincount((grey / 8).astype(int).reshape(-1), minlength=32) / grey.size
    rows, columns = np.diff(grey, axis=0), np.diff(grey, axis=1)
    mean = lambda x: float(np.abs(x).mean()) if x.size else 0.0
    return (
        math.log(height * width),
        math.log(width / height),
        math.log(size / (height * width)),
        float(grey.mean()),
        float(grey.std()),
        _entropy(share),
        mean(rows) + mean(columns),
        mean(np.diff(rows, axis=0)) + mean(np.diff(columns, axis=1)),
        float(np.ptp(colours, axis=2).mean()),
        float(((grey < 3) | (grey > 252)).mean()),
    )


def _entropy(share: np.ndarray) -> float:
    """Bits: - sum p log2 p."""
    some = share[share > 0]
    return float(-(some * np.log2(some)).sum())


def _packed(bits: np.ndarray) -> int:
    return int(np.packbits(bits).view(">u8")[0])


def _mixed(x: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _shingled(raw: bytes) -> tuple[int, np.ndarray]:
    """A hash of 64 bits that similar byte strings share, and a histogram uint8 [256].

    Bit i is the majority of bit i of the hashes of all 8 bytes in a row (Charikar 2002, "Similarity
    Estimation Techniques from Rounding Algorithms"); the histogram is of those hashes.
    """
    padded = np.frombuffer(raw.ljust(SHINGLE, b"\0"), np.uint8)
    rows = np.lib.stride_tricks.sliding_window_view(padded, SHINGLE)
    hashes = _mixed(np.ascontiguousarray(rows).view(np.uint64)[:, 0])
    ones = np.unpackbits(hashes[:, None].view(np.uint8), axis=1).mean(axis=0)
    counts = np.bincount((hashes >> np.uint64(56)).astype(int), minlength=SIDE * SIDE)
    return _packed(ones > 0.5), np.round(counts * (255 / counts.max())).astype(np.uint8)


def text_facts(path: pathlib.Path) -> Facts:
    """Of a text file: SHA-256, a hash of its first 64 KiB, and what these are made of."""
    digest, head = text_file.checked(path)
    raw = head.encode()
    codes = np.frombuffer(head.encode("utf-32-le"), np.uint32)
    _, counts = np.unique(codes, return_counts=True)
    share = lambda what: sum(map(what, head)) / max(len(head), 1)
    measured = (
        math.log(path.stat().st_size),
        math.log(1 + len(head) / (1 + head.count("\n"))),
        share(str.isalpha),
        share(str.isdigit),
        share(str.isspace),
        _entropy(counts / max(counts.sum(), 1)),
        math.log(1 + len(counts)),
        len(zlib.compress(raw, 1)) / max(len(raw), 1),
    )
    return Facts(digest, *_shingled(raw), measured)


TEXT_FEATURES = ("size", "length of lines", "letters", "digits", "spaces", "entropy") + (
    *("different characters", "compressibility"),
)


def midi_facts(path: pathlib.Path) -> Facts:
    """Of a MIDI file: SHA-256 of its notes, and a hash of their steps and lengths in any key."""
    notes, ticks, _ = midi.read(path)
    start, length, pitch, _ = notes.T
    beats = float((start + length).max() / ticks)
    steps = np.clip(np.diff(pitch, prepend=pitch[0]), -127, 127) + 128
    lengths = np.clip(np.round(4 * np.log2(1 + 16 * length / ticks)), 0, 255)
    raw = np.stack([steps, lengths], axis=1).astype(np.uint8).tobytes()
    measured = (
        math.log(len(notes)),
        math.log(1 + beats),
        float(pitch.mean()),
        float(pitch.std()),
        float(length.mean() / ticks),
        len(notes) / (1 + beats),
        float(np.count_nonzero(np.diff(start) == 0) / len(notes)),
        _entropy(np.bincount(pitch % 12, minlength=12) / len(notes)),
    )
    digest = hashlib.sha256((notes * 480 // ticks).tobytes()).hexdigest()
    return Facts(digest, *_shingled(raw), measured)


MIDI_FEATURES = ("notes", "length", "pitch", "range", "length of notes", "notes per beat") + (
    *("chords", "tonality"),
)
IMAGES = Kind("images", image_file.SUFFIXES, image_facts, IMAGE_FEATURES)
TEXTS = Kind("texts", (".txt", ".md"), text_facts, TEXT_FEATURES)
MUSIC = Kind("MIDI files", (".mid", ".midi"), midi_facts, MIDI_FEATURES)
