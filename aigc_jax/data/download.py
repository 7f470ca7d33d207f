"""The original files of a data set: found in a folder, or downloaded, and always verified."""

import hashlib
import http.client
import os
import pathlib
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple

TIMEOUT = 8.0  # seconds without an answer after which a server counts as unreachable


class Remote(NamedTuple):
    """Where a file comes from and what it must be."""

    url: str
    sha256: str
    size: int  # bytes


def sha256(path: os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: pathlib.Path, remote: Remote) -> pathlib.Path:
    """The path itself, if the file has the registered size and SHA-256.

    Raises:
      ValueError: names the file, what it is and what it should be.
    """
    size = path.stat().st_size
    if size != remote.size:
        found, wanted = f"{size} bytes", f"{remote.size} bytes"
    else:
        found, wanted = f"sha256 {sha256(path)}", f"sha256 {remote.sha256}"
    if found != wanted:
        raise ValueError(
            f"{path} is not the registered file: it has {found}, but {remote.url} has {wanted}. "
            "Replace or remove it."
        )
    return path


def _candidates(
    dataset: str, name: str, manual_dir: str | os.PathLike | None, data_dir: str | os.PathLike
) -> list[pathlib.Path]:
    folders = [pathlib.Path(data_dir) / "downloads" / dataset]
    if manual_dir:
        folders = [pathlib.Path(manual_dir) / dataset, pathlib.Path(manual_dir), *folders]
    return [folder / name for folder in folders]


def _download(remote: Remote, target: pathlib.Path) -> pathlib.Path:
    """Downloads to `target`, which appears only once it is complete and verified."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        part = pathlib.Path(folder) / target.name
        with urllib.request.urlopen(remote.url, timeout=TIMEOUT) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
        verify(part, remote)
        os.replace(part, target)
    return target


def _absent(
    dataset: str, missing: Mapping[str, Remote], manual_dir: str | os.PathLike | None, why: object
) -> FileNotFoundError:
    folder = pathlib.Path(manual_dir or "DIR") / dataset
    wanted = "\n".join(
        f"  {folder / name}  ({r.size} bytes, {r.url})" for name, r in missing.items()
    )
    hint = "" if manual_dir else " with --config.data.manual_dir=DIR or AIGC_MANUAL_DIR=DIR"
    return FileNotFoundError(
        f"{dataset!r} could not be downloaded ({why}). To prepare it without network, put these "
        f"files under their original names here{hint}:\n{wanted}"
    )


def fetch(
    dataset: str,
    files: Mapping[str, Remote],
    manual_dir: str | os.PathLike | None,
    data_dir: str | os.PathLike,
) -> dict[str, pathlib.Path]:
    """The verified files of a data set, by their original names.

    A file is looked for in `manual_dir/<dataset>/`, in `manual_dir` and among earlier downloads,
    and downloaded to `data_dir/downloads/<dataset>/` when it is in none of them.

    Raises:
      ValueError: a file is there but has another size or SHA-256.
      FileNotFoundError: it is not there, and the server can't be reached or gives something else;
        says which files to put where.
    """
    paths, missing = {}, {}
    for name, remote in files.items():
        found = [p for p in _candidates(dataset, name, manual_dir, data_dir) if p.is_file()]
        if found:
            paths[name] = verify(found[0], remote)
        else:
            missing[name] = remote
    for name, remote in missing.items():
        try:
            paths[name] = _download(remote, _candidates(dataset, name, None, data_dir)[0])
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise _absent(dataset, missing, manual_dir, error) from error
    return paths
