"""Text that is not UTF-8: what it is instead, with the command, and never an empty file."""

import pathlib
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from aigc_jax import refusals, request
from aigc_jax.data import clean, corpora, encodings, load, text_file
from aigc_jax.data.dirt import Unusable

TEXT = "hello wörld, this is – a line\r\n" * 40
PLAIN = "hello wörld, this is a line\r\n" * 40
COMMANDS = {
    "utf-8-sig": "tail -c +4",
    "utf-16": "iconv -f UTF-16 ",
    "utf-32": "iconv -f UTF-32 ",
    "utf-16-le": "iconv -f UTF-16LE ",
    "utf-16-be": "iconv -f UTF-16BE ",
    "utf-32-le": "iconv -f UTF-32LE ",
    "utf-32-be": "iconv -f UTF-32BE ",
    "latin-1": "iconv -f ISO-8859-1 ",
    "cp1252": "iconv -f WINDOWS-1252 ",
}
SURE = [codec for codec in COMMANDS if codec not in ("latin-1", "cp1252")]


def written(folder, codec):
    path = folder / "my text.txt"
    path.write_bytes((PLAIN if codec == "latin-1" else TEXT).encode(codec))
    return path


def refused(path):
    """What training says of a file."""
    with pytest.raises(ValueError, match="Accepted is UTF-8") as caught:
        load.describe({"name": str(path), "data_dir": str(path.parent / "data")})
    return str(caught.value)


@pytest.mark.parametrize("codec", COMMANDS)
def test_the_command_that_is_named_makes_the_text(codec, tmp_path):
    told = refused(path := written(tmp_path, codec))
    start = told.index(COMMANDS[codec])
    command = told[start : told.index(" makes UTF-8", start)].split(" makes ")[0]
    subprocess.run(["sh", "-c", command], check=True)
    new = pathlib.Path(shlex.split(command)[-1])
    assert text_file.read(new) == path.read_bytes().decode(codec)


@pytest.mark.parametrize("codec", ["utf-8", *SURE])
@pytest.mark.parametrize("where", ["file", "folder"])
def test_cleaning_makes_what_training_and_prompts_read(codec, where, tmp_path, capsys):
    (tmp_path / "own").mkdir()
    path = written(tmp_path / "own", codec)
    source = path if where == "file" else path.parent
    assert clean.main([str(source), f"--out={tmp_path / 'out'}"]) == 0
    assert ("converted from" in capsys.readouterr().out) == (codec != "utf-8")
    new = tmp_path / "out" / path.name
    assert new.read_bytes() == TEXT.encode()
    corpus = corpora.own_file(new)
    assert corpus.train + corpus.evaluation == text_file.read(new) == TEXT


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\x85", "\u2028"])
def test_line_ends_are_what_they_are_wherever_text_is_read(end, tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes((whole := f"one{end}two{end}" * 9).encode())
    corpus = corpora.own_file(path)
    assert corpus.train + corpus.evaluation == whole
    assert request.prompt_of({"prompt_file": [str(path)]}) == (f"--prompt_file={path}", whole)


def test_prompts_are_refused_as_training_texts_are(tmp_path):
    path = written(tmp_path, "utf-16")
    with pytest.raises(ValueError, match="^--prompt_file=.*iconv -f UTF-16 .*must be UTF-8"):
        request.prompt_of({"prompt_file": [str(path)]})


def test_a_mark_that_a_stored_run_was_trained_with_stays(tmp_path):
    path = written(tmp_path, "utf-8-sig")
    with refusals.only_said() as said:
        corpus = corpora.own_file(path)
    assert corpus.train[:6] == "\ufeffhello"
    assert "byte-order mark" in said[0]


def packed(path, packing):
    name = shutil.make_archive(str(path.with_suffix("")), packing, path.parent, path.name)
    return pathlib.Path(name)


@pytest.mark.parametrize(
    ("packing", "command"),
    [("zip", "unzip -d"), ("tar", "tar -xf"), ("gztar", "gunzip -c"), ("bztar", "bunzip2 -c")],
)
def test_archives_are_named_with_what_unpacks_them(packing, command, tmp_path, capsys):
    path = packed(written(tmp_path, "utf-8"), packing)
    assert command in (told := refused(path))
    assert "data.clean" not in told
    assert clean.main([str(path), f"--out={tmp_path / 'out'}"]) == 2
    assert command in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


BEGINS = {
    b"\xfd7zXZ\0": "xz -dc",
    b"\x28\xb5\x2f\xfd": "zstd -dc",
    b"7z\xbc\xaf\x27\x1c": "7z e -so",
    b"%PDF-1.4\n\xe2\xe3": "pdftotext",
}


@pytest.mark.parametrize("begin", BEGINS)
def test_other_files_are_known_by_how_they_begin(begin):
    found = encodings.recognised(begin + b"\0\xff" * 40, pathlib.Path("a.txt.x"))
    assert BEGINS[begin] in found.command
    assert found.command.endswith("a.txt")


UNSURE = {
    "cyrillic": ("привет, мир\n" * 20).encode("cp1251"),
    "binary": bytes(range(256)) * 4,
    "sound": np.arange(-200, 200, dtype="<i2").tobytes(),
    "damaged": "schön – gut\n".encode() * 20 + b"caf\xe9 .",
}


@pytest.mark.parametrize("name", UNSURE)
def test_what_is_not_sure_is_said_so_and_no_encoding_is_made_up(name, tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes(UNSURE[name])
    told = refused(path)
    assert ("iconv -f ENCODING" in told) == (name == "cyrillic")
    assert "Latin-1" not in told
    assert "UTF-16" not in told
    assert "1252" not in told


@pytest.mark.parametrize(
    "text", ["BZh begins a text, too\n", "%PDF\n", "PK\n", "日本語\n", "a", "\n"]
)
def test_utf8_is_taken_for_what_it_is(text, tmp_path):
    path = tmp_path / "own.txt"
    path.write_bytes((text * 70).encode())
    assert text_file.read(path) == text * 70
    assert not text_file.conversion(path)


@pytest.mark.parametrize("codec", ["utf-16", "utf-32-le"])
def test_damage_in_what_is_converted_is_no_success(codec, tmp_path, capsys):
    path = written(tmp_path, codec)
    path.write_bytes(path.read_bytes()[:-1])
    assert clean.main([str(path), f"--out={tmp_path / 'out'}"]) == 2
    assert "damaged UTF" in capsys.readouterr().err
    with pytest.raises(Unusable, match="damaged"):
        text_file.checked(path)


def test_cleaning_that_keeps_nothing_is_no_success_and_writes_nothing(tmp_path, capsys):
    lines = tmp_path / "latin.txt"
    lines.write_bytes("caf\u00e9 cr\u00e8me\n".encode("latin-1") * 3)
    folders = {"texts": "a.txt", "images": "a.png", "music": "a.mid"}
    for name, file in folders.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"\xff\0")
    for source in (lines, *(tmp_path / name for name in folders)):
        assert clean.main([str(source), f"--out={tmp_path / 'out'}"]) == 2
        assert not (tmp_path / "out").exists()
        told = capsys.readouterr()
        assert "is clean: " in told.err
        assert not told.out
    assert clean.main([str(lines), f"--out={tmp_path / 'out'}", "--report_only"]) == 2
    assert "iconv -f ISO-8859-1" in (tmp_path / "out" / "report.html").read_text()


def test_lines_of_another_encoding_are_remarked_on(tmp_path, capsys):
    path = tmp_path / "own.txt"
    path.write_bytes(b"plain\n" * 9 + "caf\u00e9 cr\u00e8me\n".encode("latin-1"))
    assert clean.main([str(path), f"--out={tmp_path / 'out'}"]) == 0
    assert "need not be damaged: it may be Latin-1" in capsys.readouterr().out


def test_pictures_that_are_kept_are_linked_as_before(tmp_path):
    (tmp_path / "own").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "own" / f"{i}.png")
    assert clean.main([str(tmp_path / "own"), f"--out={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out" / "0.png").samefile(tmp_path / "own" / "0.png")
