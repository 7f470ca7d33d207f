"""Generated texts as files, each with a JSON file beside it that says where it comes from."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.media.provenance import check_writable, of_sample, sha256, stems, to_text


def write(path: pathlib.Path, text: str, provenance: Mapping[str, Any]) -> pathlib.Path:
    """A text as UTF-8, and its mark in a JSON file beside it; returns the text's path."""
    content = text.encode()  # as bytes: line ends stay as they were generated
    path.write_bytes(content)
    mark = {**provenance, "sha256": sha256(content)}
    path.with_suffix(".json").write_bytes(to_text(mark).encode() + b"\n")
    return path


def write_texts(
    folder: str | os.PathLike,
    texts: Sequence[str],
    provenance: Mapping[str, Any],
    each: Mapping[str, Sequence] = {},
) -> list[pathlib.Path]:
    """Writes each text as `000.txt`, ..., and all as `samples.txt`; returns their paths.

    `000.json` beside `000.txt` holds the provenance (see `provenance.mark`), the text's index, its
    values of `each` and its SHA-256. The same call writes the same bytes.
    """
    folder = check_writable(folder)
    names = stems(len(texts))
    paths = [
        write(folder / f"{name}.txt", text, of_sample(provenance, each, i))
        for i, (name, text) in enumerate(zip(names, texts, strict=True))
    ]
    together = "\n".join(f"=== {n} ===\n{text}" for n, text in zip(names, texts, strict=True))
    return [*paths, write(folder / "samples.txt", together + "\n", provenance)]
