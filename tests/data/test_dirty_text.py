"""Text from anywhere: what is no text is named with its place, and long lines take little."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from aigc_jax.data import clean, text, text_file
from aigc_jax.data.conformance import bad_rows, check
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.dirt import Unusable

ROOT = pathlib.Path(__file__).parents[2]
MIB = 2**20


def config(path, **options):
    """A complete configuration of a text file."""
    return {
        **{"name": str(path), "manual_dir": None, "data_dir": str(path.parent / "data")},
        **{"context": 8, "tokenizer": "auto", "vocab_size": 300, "limit": None, **options},
    }


BAD = {
    "latin": ("café".encode("latin-1"), r"0xe9 at offset 103 .*UTF-8"),
    "utf-16": ("ab".encode("utf-16"), r"(0xff at offset 100|0x00 at offset 103)"),
    "nul": (b"a\0b", r"0x00 at offset 101 .*NUL"),
    "cut": ("é".encode()[:1], r"0xc3 at offset 100 .*UTF-8"),
    "surrogate": (b"\xed\xa0\x80", r"0xed at offset 100 .*UTF-8"),
    "overlong": (b"\xc0\xaf", r"0xc0 at offset 100 .*UTF-8"),
}


@pytest.mark.parametrize("call", [text.describe, text.load])
@pytest.mark.parametrize("name", BAD)
def test_what_is_no_text_is_named_with_its_place_and_the_cure(name, call, tmp_path):
    raw, told = BAD[name]
    path = tmp_path / "own.txt"
    path.write_bytes(b"0123456789" * 10 + raw)
    with pytest.raises(ValueError, match=told) as caught:
        call(config(path))
    assert f"python -m aigc_jax.data.clean {path} --out=" in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_pieces_know_the_same_faults(name, tmp_path):
    raw, told = BAD[name]
    (tmp_path / "own.txt").write_bytes(b"0123456789" * 10 + raw)
    with pytest.raises(Unusable, match=told) as caught:
        text_file.checked(tmp_path / "own.txt")
    assert caught.value.kind == "text"


@pytest.mark.parametrize("unit", ["a", "é", "–", "😀", "aé–😀\n", "x" * 70_000 + "–\n"])
def test_pieces_are_the_file_cut_between_characters(unit, tmp_path):
    content = "b" + unit * (200_000 // len(unit))
    (tmp_path / "own.txt").write_text(content, encoding="utf-8")
    with (tmp_path / "own.txt").open("rb") as file:
        found = list(text_file.pieces(file))
    raw = content.encode()
    assert b"".join(piece.raw for piece in found) == raw
    assert all(len(piece.raw) <= text_file.PIECE for piece in found)
    assert [text_file.fault(piece) for piece in found] == [None] * len(found)
    sizes = np.array([len(piece.raw) for piece in found])
    ends = np.array([piece.raw.count(b"\n") for piece in found])
    assert [piece.offset for piece in found] == (np.cumsum(sizes) - sizes).tolist()
    assert [piece.line for piece in found] == (1 + np.cumsum(ends) - ends).tolist()


def test_cleaning_a_file_leaves_out_its_bad_lines_only(tmp_path):
    lines = [f"line {i} – whole\n".encode() for i in range(50)]
    for i, raw in ((3, b"caf\xe9\n"), (20, b"a\0b\n"), (49, b"\xff")):
        lines[i] = raw
    (tmp_path / "own.txt").write_bytes(b"".join(lines))
    assert clean.main([str(tmp_path / "own.txt"), f"--out={tmp_path / 'out'}"]) == 0
    kept = [raw for i, raw in enumerate(lines) if i not in (3, 20, 49)]
    assert (tmp_path / "out" / "own.txt").read_bytes() == b"".join(kept)
    text.load(config(tmp_path / "out" / "own.txt"))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "line 4" in page
    assert "caf\\xe9" in page


def run(code, seconds):
    """The MiB and the seconds that Python code takes in a process of its own, imports included."""
    script = f"""
import pathlib, time
start = time.monotonic()
{code}
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024, time.monotonic() - start)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": seconds, "check": True},
    )
    memory, taken = map(float, done.stdout.split()[-2:])
    return memory, taken


def one_line(path, size):
    path.write_bytes((b"it was the best of times, it was the worst of times " * 21_000)[:MIB])
    whole = path.read_bytes()
    with path.open("ab") as file:
        for _ in range(size // MIB - 1):
            file.write(whole)
        file.write(b"\xff")


def test_cleaning_a_line_of_100_mb_takes_little(tmp_path):
    one_line(tmp_path / "own.txt", 100 * MIB)
    arguments = [str(tmp_path / "own.txt"), f"--out={tmp_path / 'out'}"]
    memory, seconds = run(f"from aigc_jax.data import clean; clean.main({arguments})", 120)
    assert memory < 100
    assert seconds < 60  # 1 s on an idle core
    left = (tmp_path / "out" / "own.txt").stat().st_size
    assert 100 * MIB - text_file.PIECE <= left <= 100 * MIB


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["char", "byte"])
def test_a_line_of_100_mb_is_loaded_within_bounds(kind, tmp_path):
    one_line(tmp_path / "own.txt", 100 * MIB)
    raw = (tmp_path / "own.txt").read_bytes()
    (tmp_path / "own.txt").write_bytes(raw[:-1])
    chosen = config(tmp_path / "own.txt", tokenizer=kind)
    memory, seconds = run(f"from aigc_jax.data import text; text.load({chosen})", 280)
    assert memory < 2600
    assert seconds < 120


def dataset(array, held_out):
    sizes, dtype = {"train": len(array), "test": len(held_out)}, str(array.dtype)
    info = Info("own", sizes, "test", {"image": array.shape[1:]}, {"image": dtype})
    splits = (Split(len(part), {"image": part}, rows) for part in (array, held_out))
    return Dataset(info, *splits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_refused_by_row(value):
    whole = np.zeros((3000, 4, 4, 1), np.float32)
    check(dataset(whole, whole))
    check(dataset(whole.astype(np.uint8), whole[:1].astype(np.uint8)))
    bad = whole.copy()
    bad[2111, 3, 0] = bad[2999, 0, 0] = value
    assert bad_rows(bad).tolist() == [2111, 2999]
    with pytest.raises(ValueError, match=r"train .*2 of 3,000 rows of 'image', first row 2111"):
        check(dataset(bad, whole))
    with pytest.raises(ValueError, match="test holds NaN"):
        check(dataset(whole, bad))
    streamed = Split(3000, source=[{"image": image} for image in bad])  # the guard skips them
    check(Dataset(dataset(whole, whole).info, streamed, streamed))
