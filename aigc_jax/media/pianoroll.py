"""Notes to a picture: time to the right, pitch upwards, a colour for each voice."""

from collections.abc import Sequence
from typing import Any

import numpy as np

COLOURS = ("#d1495b", "#e09f3e", "#2a9d8f", "#30638e")  # soprano, alto, tenor, bass
NAMES = ("soprano", "alto", "tenor", "bass")
PAPER, DARK_KEYS, OCTAVE, BEAT_LINE, BAR_LINE, INK = (
    *("#ffffff", "#f4f5f7", "#dfe2e7", "#e6e8ec", "#aab0ba", "#5b6370"),
)
BLACK_KEYS = (1, 3, 6, 8, 10)  # pitch classes
STEP, ROW = 8, 7  # pixels of a sixteenth and of a semitone
LEFT, TOP, RIGHT, BOTTOM = 38, 30, 14, 10  # margins, pixels
LEGEND = 62  # pixels of a voice's name
SYSTEM = 128  # sixteenths in a line, eight bars
SCALE = 3  # drawn so many times larger, then reduced: smooth edges


def draw(notes: Sequence[tuple[int, int, int, int]], frames: int) -> np.ndarray:
    """The piano roll of notes (voice, start, length, pitch) as uint8 [H, W, 3].

    Long pieces go on in further lines of eight bars. Lines mark beats of four sixteenths and bars
    of four beats, counted from the first frame: an upbeat shifts them. Dark rows are black keys.
    """
    from PIL import Image, ImageDraw

    pitches = [pitch for *_, pitch in notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    lines = [(first, min(SYSTEM, frames - first)) for first in range(0, max(frames, 1), SYSTEM)]
    width = LEFT + max([length * STEP for _, length in lines] + [LEGEND * len(NAMES)]) + RIGHT
    tall = TOP + (high - low + 1) * ROW + BOTTOM
    size = (width * SCALE, tall * len(lines) * SCALE)
    image = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(image)
    for number, (first, length) in enumerate(lines):
        top = number * tall + TOP
        _paper(pen, top, low, high, first, length)
        _bars(pen, top, high, _clipped(notes, first, length))
    _legend(pen)
    return np.asarray(image.resize((width, tall * len(lines)), Image.Resampling.LANCZOS))


def _clipped(notes, first, length):
    """The notes of one line, with starts counted from its beginning."""
    parts = [(v, max(s - first, 0), min(s + n - first, length), p) for v, s, n, p in notes]
    return [(v, begin, end, p) for v, begin, end, p in parts if begin < end]


def _scaled(*values: float) -> list[int]:
    return [round(value * SCALE) for value in values]


def _text(pen: Any, x: float, y: float, words: str, anchor: str, colour: str = INK) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size=10 * SCALE)
    pen.text(_scaled(x, y), words, fill=colour, font=font, anchor=anchor)


def _paper(pen, top, low, high, first, length):
    """Rows of keys with the names of the Cs, lines of beats and bars with their numbers."""
    right, bottom = LEFT + length * STEP, top + (high - low + 1) * ROW
    for pitch in range(low, high + 1):
        y = top + (high - pitch) * ROW
        if pitch % 12 in BLACK_KEYS:
            pen.rectangle(_scaled(LEFT, y, right, y + ROW), fill=DARK_KEYS)
        if pitch % 12 == 0:
            pen.line(_scaled(LEFT, y + ROW, right, y + ROW), fill=OCTAVE, width=SCALE)
            _text(pen, LEFT - 6, y + ROW / 2, f"C{pitch // 12 - 1}", "rm")
    for frame in range(0, length + 1, 4):
        x, bar = LEFT + frame * STEP, (first + frame) % 16 == 0
        colour = BAR_LINE if bar else BEAT_LINE
        pen.line(_scaled(x, top, x, bottom), fill=colour, width=SCALE if bar else SCALE - 1)
        if bar and frame < length:
            _text(pen, x + 1, top - 3, str((first + frame) // 16 + 1), "ls", BAR_LINE)


def _bars(pen, top, high, notes):
    """The notes, bass first; where a voice meets a lower one, that keeps the lower half."""
    drawn = []
    for voice, begin, end, pitch in sorted(notes, reverse=True):
        y, x, right = top + (high - pitch) * ROW, LEFT + begin * STEP, LEFT + end * STEP
        box = _scaled(x + 0.7, y + 0.5, right - 0.7, y + ROW - 0.5)
        pen.rounded_rectangle(box, radius=2 * SCALE, fill=COLOURS[voice])
        for lower, b, e, p in drawn:
            if p == pitch and b < end and begin < e:
                both = (LEFT + max(b, begin) * STEP + 0.7, LEFT + min(e, end) * STEP - 0.7)
                half = _scaled(both[0], y + ROW / 2, both[1], y + ROW - 0.5)
                pen.rounded_rectangle(half, radius=SCALE, fill=COLOURS[lower])
        drawn.append((voice, begin, end, pitch))


def _legend(pen):
    for voice, name in enumerate(NAMES):
        x = LEFT + LEGEND * voice
        pen.rounded_rectangle(_scaled(x, 5, x + 10, 12), radius=2 * SCALE, fill=COLOURS[voice])
        _text(pen, x + 14, 9, name, "lm")
