"""New samples replace old ones, and nothing that anyone else put beside them."""

import numpy as np
import pytest
from PIL import Image

from aigc_jax import written
from aigc_jax.media import earlier, images, music, points, provenance, text

MARK = provenance.mark(run="run", step=1, config_digest="0f", seed=3)
PIECE = np.array([[72, 67, 60, 48]] * 4, np.int32)
WRITERS = {
    "images": lambda folder, n: images.write_images(folder, np.zeros((n, 8, 8, 1)), MARK),
    "points": lambda folder, n: points.write(folder, np.zeros((n, 1, 1, 2)), MARK),
    "text": lambda folder, n: text.write_texts(folder, ["a\r\né"] * n, MARK),
    "music": lambda folder, n: music.write_music(folder, [PIECE] * n, MARK),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_all_that_was_written_is_known_and_goes(tmp_path, kind):
    WRITERS[kind](tmp_path, 3)
    there = sorted(path.name for path in tmp_path.iterdir())
    endings, together = written.FILES[kind]
    each = [f"00{i}.{ending}" for i in range(3) for ending in endings]
    assert there == sorted([*each, *together])
    earlier.check(tmp_path, there)
    assert earlier.remove(tmp_path) == there
    assert not list(tmp_path.iterdir())


def own_files(folder):
    """Files named as samples are, by the user: bytes by name."""
    Image.new("L", (8, 8)).save(folder / "000.png")
    np.savez(folder / "samples.npz", a=np.zeros(3))
    (folder / "grid.png").write_text("no picture")
    for name in ("002.txt", "003.mid", "004.wav", "005.json", "samples.json", "1234.txt"):
        (folder / name).write_text("by hand")
    (folder / "006.json").write_text('{"software": "aigc_jax"}')
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_of_the_user_stay_and_are_not_written_over(tmp_path):
    kept = own_files(tmp_path)
    for name in kept:
        with pytest.raises(ValueError, match=f"--out=.*{name} that carries no mark of a sample"):
            earlier.check(tmp_path, ["007.png", name])
    assert earlier.remove(tmp_path) == []
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept
    earlier.check(tmp_path, ["007.png", "pairs.png"])


def test_a_text_of_the_user_beside_the_mark_of_another_stays(tmp_path):
    WRITERS["text"](tmp_path, 1)
    (tmp_path / "000.txt").write_text("mine now")
    assert "000.txt" not in earlier.remove(tmp_path)
    assert (tmp_path / "000.txt").read_text() == "mine now"


def test_samples_under_another_name_stay(tmp_path):
    WRITERS["images"](tmp_path, 2)
    (tmp_path / "001.png").rename(tmp_path / "favourite.png")
    earlier.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["favourite.png"]
