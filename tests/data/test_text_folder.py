"""Folders of texts: what they hold, in which order, how they are split, and what is left out."""

import shutil

import pytest
from PIL import Image

from aigc_jax import refusals
from aigc_jax.data import clean, contents, corpora, load, text_folder
from aigc_jax.data.inspection import IMAGES, MUSIC, TEXTS


def put(root, files):
    """Writes {path inside: text or bytes} into a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def config(root, **options):
    data_dir = str(root.parent / "data")
    return {"name": str(root), "data_dir": data_dir, "context": 4, "tokenizer": "byte", **options}


CHAPTERS = {f"chapter {i}.txt": f"this is chapter {i}\n" * 40 for i in range(1, 13)}


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a/1.png", "b/2.jpg", "README.md", "LICENSE.txt", "labels.csv"], IMAGES),
        (["1.png", "2.png", "3.png", "labels.txt"], IMAGES),
        (["1.txt", "deep/er/2.md", "a.png"], TEXTS),
        (["README.md"], TEXTS),
        (["1.mid", "2.MIDI", "readme.txt"], MUSIC),
        ([".hidden.txt", "1.gif"], IMAGES),
        ([], IMAGES),
    ],
)
def test_a_folder_is_of_the_kind_that_its_files_are(names, kind, tmp_path):
    assert contents.kind_of(put(tmp_path, dict.fromkeys(names, "")), 0.01) is kind


def test_a_folder_of_several_kinds_is_refused_with_their_counts(tmp_path):
    put(tmp_path, {f"{i}.{end}": "" for i in range(20) for end in ("png", "txt")} | {"x.txt": ""})
    with pytest.raises(ValueError, match=r"holds 21 texts, 20 images; .*clean.* the texts alone"):
        load.describe(config(tmp_path))
    assert contents.kind_of(tmp_path, 0.5) is TEXTS
    with refusals.only_said() as said:
        assert contents.kind_of(tmp_path, 0.01) is IMAGES  # what such a folder always was
    assert "21 texts" in said[0]


def test_documents_follow_each_other_in_natural_order_each_with_its_line_end(tmp_path):
    put(tmp_path, {"10.txt": "ten\n\n", "2.txt": "two", "a/1.md": "\r\none\r\n", "2b.TXT": "é"})
    corpus = text_folder.read(tmp_path, 0)
    assert corpus.train + corpus.evaluation == "two\né\nten\n\n\r\none\r\n"
    assert corpus.fingerprint["files"] == 4
    assert corpus.fingerprint["bytes"] == len("two\né\nten\n\n\r\none\r\n".encode())


def test_one_document_is_split_as_the_file_itself(tmp_path):
    text = "to be or not to be, that is the question\n" * 30
    put(tmp_path, {"own/x.txt": text})
    own, alone = text_folder.read(tmp_path / "own", 0), corpora.own_file(tmp_path / "own" / "x.txt")
    assert (own.train, own.evaluation) == (alone.train, alone.evaluation)


def test_whole_documents_are_held_out_and_stay_what_they_are(tmp_path):
    texts = {f"{i}.txt": f"<{i}>" + "x" * (i % 7) + "\n" for i in range(200)}
    corpus = text_folder.read(put(tmp_path / "own", texts), 0)
    train, held_out = (part.splitlines(keepends=True) for part in corpus[:2])
    assert sorted([*train, *held_out]) == sorted(texts.values())
    assert 0.05 <= len(corpus.evaluation) / sum(map(len, texts.values())) <= 0.1
    places = [int(line[1 : line.index(">")]) for line in held_out]
    assert places == sorted(places)
    assert max(places) - min(places) > 100  # from everywhere
    assert text_folder.read(tmp_path / "own", 0) == corpus


def test_few_long_documents_are_cut_at_nine_tenths(tmp_path):
    corpus = text_folder.read(put(tmp_path, {**CHAPTERS, "chapter 13.txt": "y" * 999_999}), 0)
    assert corpus.evaluation == "y" * (len(corpus.evaluation) - 1) + "\n"
    share = len(corpus.evaluation) / (len(corpus.train) + len(corpus.evaluation))
    assert abs(share - 0.1) < 1e-4


@pytest.mark.parametrize("name", ["test", "validation", "valid", "val"])
def test_folders_of_splits_are_followed(name, tmp_path, capsys):
    root = put(tmp_path / "own", {f"train/{k}": v for k, v in CHAPTERS.items()})
    put(root, {f"{name}/a/x.txt": "held out " * 9, "other.txt": "neither"})
    described, loaded = load.describe(config(root)), load.load(config(root))
    assert described == loaded.info
    assert loaded.info.eval_split == ("test" if name == "test" else "validation")
    text = loaded.tokenizer.decode(loaded.train.arrays["tokens"])
    assert text == "".join(CHAPTERS.values())
    assert "text folder" in (told := capsys.readouterr().out)
    assert "not taken are 1 texts" in told


def test_the_fingerprint_is_of_names_and_contents(tmp_path):
    prints = []
    variants = ({}, {"chapter 3.txt": "other"}, {"chapter 13.txt": "more"}, {"chapter 3.txt": None})
    for i, change in enumerate(variants):
        files = {k: v for k, v in (CHAPTERS | change).items() if v}
        prints.append(load.describe(config(put(tmp_path / str(i), files))).fingerprint["sha256"])
    assert len(set(prints)) == len(variants)
    assert load.describe(config(put(tmp_path / "again", CHAPTERS))).fingerprint["sha256"] in prints


DIRT = {
    "latin.txt": "café".encode("latin-1"),
    "nul.txt": b"a\0b",
    "blank.txt": b" \n",
    "0.txt": b"",
}


def test_what_is_no_text_is_left_out_and_above_a_share_refused(tmp_path, capsys):
    root = put(tmp_path / "own", CHAPTERS | DIRT)
    with pytest.raises(ValueError, match=r"4 of 16 files \(25 %\) can't be used: .*0xe9.*clean"):
        load.describe(config(root))
    loaded = load.load(config(root, max_rejected=0.5))
    assert loaded.info.rejected == 4
    assert "text folder" in capsys.readouterr().out


def test_training_takes_what_cleaning_keeps(tmp_path):
    root = put(tmp_path / "own", CHAPTERS | DIRT | {"a.png": b"", "deep/er/x.md": "more\n" * 30})
    out = tmp_path / "clean"
    assert clean.main([str(root), f"--out={out}", "--near=-1", "--outliers=1"]) == 0
    kept = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert kept == {*CHAPTERS, "deep/er/x.md", "report.json", "report.html"}
    dirty = load.load(config(root, max_rejected=0.5))
    cleaned = load.load(config(out, max_rejected=0.0))
    assert cleaned.info.fingerprint == dirty.info.fingerprint
    assert (cleaned.train.arrays["tokens"] == dirty.train.arrays["tokens"]).all()


def test_a_folder_without_text_for_a_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no text in test/ can be used"):
        load.describe(config(put(tmp_path / "a", {"train/1.txt": "x" * 99, "test/1.csv": ""})))
    with pytest.raises(ValueError, match=r"no texts in train. Accepted: .*DIR/train/"):
        load.describe(config(put(tmp_path / "b", {"train/a.csv": "x", "1.txt": "x", "2.txt": ""})))


def test_images_beside_a_readme_are_images_still(tmp_path):
    for i in range(4):
        (tmp_path / "own").mkdir(exist_ok=True)
        Image.new("L", (5, 5), i).save(tmp_path / "own" / f"{i}.png")
    put(tmp_path / "own", {"README.md": "about", "LICENSE.txt": "about"})
    images = {"name": str(tmp_path / "own"), "data_dir": str(tmp_path / "data")}
    assert load.describe(images).shapes == {"image": (5, 5, 1)}


@pytest.mark.parametrize("name", ["digits", "ring", "tiny_shakespeare", "jsb_chorales"])
def test_a_known_name_is_the_known_set_whatever_lies_in_the_current_folder(
    name, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = load.describe({"name": name})
    put(tmp_path, {f"{name}/{i}.txt": "another text\n" * 99 for i in range(3)})
    assert load.describe({"name": name}) == before
    shutil.rmtree(tmp_path / name)
    (tmp_path / name).write_text("a text in a file of that name\n" * 99)
    assert load.describe({"name": name}) == before
