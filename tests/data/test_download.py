"""Files are found where a user puts them, verified, and asked for in one clear error."""

import hashlib
import time

import pytest

from aigc_jax.data import download
from aigc_jax.data.download import Remote, fetch

CONTENT = b"some data"


def remote(url: str = "http://host.invalid/a.bin") -> Remote:
    return Remote(url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.mark.parametrize("place", ["set/a.bin", "a.bin"])
def test_files_are_found_in_the_folder_of_the_set_or_above_it(tmp_path, place):
    path = tmp_path / "manual" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    found = fetch("set", {"a.bin": remote()}, tmp_path / "manual", tmp_path / "data")
    assert found == {"a.bin": path}


@pytest.mark.parametrize("content", [CONTENT[:-1], b"some d4ta"])
def test_a_file_with_another_size_or_checksum_is_refused(tmp_path, content):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match="a.bin is not the registered file"):
        fetch("set", {"a.bin": remote()}, tmp_path, tmp_path / "data")


def test_downloads_are_verified_and_kept(tmp_path):
    source = tmp_path / "server.bin"
    source.write_bytes(CONTENT)
    files = {"a.bin": remote(source.as_uri())}
    path = fetch("set", files, None, tmp_path / "data")["a.bin"]
    assert path.read_bytes() == CONTENT
    source.unlink()
    assert fetch("set", files, None, tmp_path / "data")["a.bin"] == path


def test_a_download_of_something_else_leaves_nothing_behind(tmp_path):
    source = tmp_path / "server.bin"
    source.write_bytes(b"an error page")
    with pytest.raises(FileNotFoundError, match="13 bytes"):
        fetch("set", {"a.bin": remote(source.as_uri())}, None, tmp_path / "data")
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_without_network_one_error_says_which_files_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 2.0)
    files = {"a.bin": remote(), "b.bin": remote("http://host.invalid/b.bin")}
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as caught:
        fetch("set", files, tmp_path, tmp_path / "data")
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert all(str(tmp_path / "set" / name) in message for name in files)
    assert "http://host.invalid/b.bin" in message
