"""Notes to sound: a soft additive organ in a small room, and WAV files."""

import io
import struct
import wave
from collections.abc import Sequence

import numpy as np

RATE = 22050  # samples per second
PARTIALS = (1.0, 0.5, 0.28, 0.16, 0.08, 0.05)  # amplitudes of the harmonics
DETUNE = 0.0007  # of the second pipe of every note, for a slow beat
GAINS = (1.0, 0.75, 0.8, 1.0)  # soprano to bass: outer voices lead
ATTACK, RELEASE = 0.035, 0.14  # seconds
DECAY = 2.5  # seconds until a held note has lost 1 - 1/e of what it does lose
PEAK = 0.85  # of full scale
ROOM, WET = 0.9, 0.16  # seconds of echo, and how much of it


def render(notes: Sequence[tuple[int, int, int, int]], sixteenth: float) -> np.ndarray:
    """The sound of notes (voice, start, length, pitch) as f32 [samples] in [-1, 1].

    Every note rises and falls along half a cosine, so that nothing clicks, and fades into the next
    one of its voice. Silence if there are no notes.

    Args:
      notes: starts and lengths in sixteenths; MIDI pitches, 69 is 440 Hz.
      sixteenth: seconds.
    """
    end = max((start + length for _, start, length, _ in notes), default=1) * sixteenth
    dry = np.zeros(int((end + RELEASE + ROOM) * RATE) + 1)
    for voice, start, length, pitch in notes:
        tone = GAINS[voice] * _tone(pitch, length * sixteenth)
        first = int(start * sixteenth * RATE)
        dry[first : first + len(tone)] += tone
    wet = dry + WET * _echo(dry)
    return (PEAK * wet / max(np.abs(wet).max(), 1e-9)).astype(np.float32)


def _tone(pitch: int, seconds: float) -> np.ndarray:
    """One note with its release, f64 [samples]."""
    time = np.arange(int((seconds + RELEASE) * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    sound = np.zeros_like(time)
    for number, amplitude in enumerate(PARTIALS, 1):
        if frequency * number < RATE / 2.2:  # what is higher would fold back
            angle = 2 * np.pi * frequency * number * time
            pipes = np.sin(angle) + 0.4 * np.sin(angle * (1 + DETUNE) + number)
            sound += amplitude * pipes * np.exp(-0.15 * number * time)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(time / ATTACK, 0, 1))
    fall = 0.5 + 0.5 * np.cos(np.pi * np.clip((time - seconds) / RELEASE, 0, 1))
    body = 0.75 + 0.25 * np.exp(-time / DECAY)
    return sound * rise * fall * body


def _echo(dry: np.ndarray) -> np.ndarray:
    """The sound after a room of exponentially fading noise, the same for every call."""
    time = np.arange(int(ROOM * RATE)) / RATE
    room = np.random.default_rng(0).normal(size=len(time)) * np.exp(-6 * time / ROOM)
    room *= np.clip(time / 0.01, 0, 1)
    room /= np.sqrt((room**2).sum())
    size = 1 << (len(dry) + len(room) - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(room, size), size)[: len(dry)]


def to_wav(samples: np.ndarray, comment: str) -> bytes:
    """A WAV file of samples [N] in [-1, 1], 16 bits, mono, with a comment in its INFO list."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    text = comment.encode() + b"\0"
    text += b"\0" * (len(text) % 2)  # chunks are of even length
    entries = b"INFO" + b"ICMT" + struct.pack("<I", len(text)) + text
    whole = buffer.getvalue() + b"LIST" + struct.pack("<I", len(entries)) + entries
    return b"RIFF" + struct.pack("<I", len(whole) - 8) + whole[8:]
