"""Reading one checkpoint: judged before it is believed, and never executed.

Format 2 is an Orbax composite of `state`, arrays without compression, and `meta`, JSON:
{"format", "run": what was passed, "metrics", "leaves": {path: {"digest", "shape", "dtype"}},
"sha256": of all the others as sorted JSON}.
"""

import contextlib
import hashlib
import json
import logging
import math
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aigc_jax import failure, renamed
from aigc_jax.core import PyTree, path_name
from aigc_jax.storage import digests

FORMAT = 2
LARGEST_META = 1 << 28  # bytes
# What Orbax's errors say when the machine, not the checkpoint, is to blame.
INNOCENT = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "Out of memory", "allocating")
# What JSON that is not ours makes Python say.
UNREADABLE = (OSError, LookupError, TypeError, AttributeError, RecursionError) + (
    json.JSONDecodeError,
    UnicodeDecodeError,
)


class DamagedError(ValueError):
    """What is on the disk is not what was written, or was not written by this project."""


def sha256(content: Any) -> str:
    """Of JSON content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def meta_of(run: Mapping, metrics: Mapping, state: PyTree) -> dict[str, Any]:
    """The `meta` of a state; several processes call it together."""
    found = digests.of(state)
    described = described_leaves(state)
    leaves = {name: {"digest": digests.text(found[name])} | described[name] for name in described}
    content = {"format": FORMAT, "run": dict(run), "metrics": dict(metrics), "leaves": leaves}
    content = json.loads(json.dumps(content))
    return content | {"sha256": sha256(content)}


def described_leaves(tree: PyTree) -> dict[str, dict[str, Any]]:
    """{path: {"shape", "dtype"}} of every leaf, abstract or not."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(p): {"shape": list(x.shape), "dtype": str(x.dtype)} for p, x in leaves}


def read_meta(path: pathlib.Path) -> dict[str, Any]:
    """The `meta` of the checkpoint at `path`, checked.

    Raises:
      DamagedError: if it is missing, not JSON, or not what its sha256 says.
      ValueError: if it is whole but of another format.
      OSError: if it may not be read, or not now.
    """
    refuse_links(path)
    file = path / "meta" / "metadata"
    try:
        if file.stat().st_size > LARGEST_META:
            raise DamagedError(f"{file}: is larger than {LARGEST_META:,} bytes")
        meta = json.loads(file.read_bytes())
        content = {key: meta[key] for key in meta if key != "sha256"}
        if sha256(content) != meta["sha256"]:
            _refuse_older(file, meta)
            raise DamagedError(f"{file}: is damaged, for its sha256 is not the stored one")
        if meta["format"] != FORMAT:
            raise ValueError(f"{file}: has format {meta['format']}, not {FORMAT}")
        _check_leaves(file, meta["leaves"])
    except (DamagedError, PermissionError):
        raise
    except UNREADABLE as error:
        raise _unread(file, error) from error
    return meta


def _unread(path: pathlib.Path, error: Exception) -> Exception:
    """What an error of reading says of a checkpoint: nothing, if it is one that may pass."""
    if failure.may_pass(error):
        return OSError(
            f"{path}: could not be read ({first_line(error)}); try again, or, if that does not "
            "help, rename the checkpoint's folder to go on from the one before"
        )
    return DamagedError(f"{path}: is damaged ({first_line(error)})")


def _refuse_older(file: pathlib.Path, meta: Mapping[str, Any]) -> None:
    if meta.get("format") == 1 and sha256(meta.get("run")) == meta["sha256"]:
        raise ValueError(
            f"{file}: has format 1, not {FORMAT}; read it with the commit that wrote it "
            f"({meta['run'].get('commit', 'unknown')}) or train again"
        )


def _check_leaves(file: pathlib.Path, leaves: Mapping[str, Mapping]) -> None:
    for name, leaf in leaves.items():
        sizes, dtype = leaf["shape"], leaf["dtype"]
        if not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
            raise DamagedError(f"{file}: {name} has the shape {str(sizes)[:80]}")
        if not re.fullmatch("[a-z0-9_]+", dtype) or np.dtype(dtype).hasobject:
            raise DamagedError(f"{file}: {name} has the dtype {dtype[:80]!r}")
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts):
            raise DamagedError(f"{file}: {name[:80]!r} is no name of a leaf")


def refuse_links(path: pathlib.Path) -> None:
    """A checkpoint is a folder of plain files.

    Raises:
      DamagedError: if it is or holds a link, which may lead anywhere, or a special file.
    """
    for inside in (path, *path.rglob("*")):
        if inside.is_symlink() or not (inside.is_file() or inside.is_dir()):
            raise DamagedError(f"{inside}: is neither a plain file nor a folder")


def read_state(
    path: pathlib.Path, leaves: Mapping[str, Mapping], target: PyTree
) -> dict[str, jax.Array]:
    """{stored name: array} of the state at `path`, each laid out like its leaf of `target`.

    What is read is not compared with its digests yet.

    Raises:
      DamagedError: if it cannot be read, or is not the arrays that `leaves` describes.
    """
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {path_name(p): x for p, x in jax.tree_util.tree_flatten_with_path(target)[0]}

    def place(where, _):
        leaf = wanted[renamed.leaf(path_name(where))]
        sharding = getattr(leaf, "sharding", None) or here
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    with _reader(path) as reader:
        placed = jax.tree_util.tree_map_with_path(place, _check_arrays(path, leaves, reader))
        arguments = ocp.checkpoint_utils.construct_restore_args(placed)
        tree = reader.restore(
            path / "state", args=ocp.args.PyTreeRestore(placed, restore_args=arguments)
        )
    return {path_name(p): x for p, x in jax.tree_util.tree_flatten_with_path(tree)[0]}


def read_arrays(path: pathlib.Path, leaves: Mapping[str, Mapping]) -> dict[str, np.ndarray]:
    """{path: array} of the state at `path`, compared with its digests, whatever the run was.

    Paths are those of today, see `renamed`.

    Raises:
      DamagedError: if it cannot be read, or is not the arrays that `leaves` describes.
    """
    with _reader(path) as reader:
        found = _check_arrays(path, leaves, reader)
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), found)
        tree = reader.restore(path / "state", args=ocp.args.PyTreeRestore(restore_args=arguments))
    check_digests(path, leaves, tree)
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {renamed.leaf(path_name(where)): np.asarray(leaf) for where, leaf in named}


@contextlib.contextmanager
def _reader(path: pathlib.Path) -> Iterator[ocp.PyTreeCheckpointHandler]:
    """Orbax's reader for this process alone, which waits for no other; its errors are damage.

    Of what is too large for the memory, or may not be read, or not now, nothing is known.
    """
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    try:
        with _stragglers_hushed(), contextlib.closing(handler) as it:
            yield it
    except (DamagedError, MemoryError, PermissionError):
        raise
    except Exception as error:  # Orbax raises many kinds for damaged files
        if any(word in str(error) for word in INNOCENT):
            raise
        raise _unread(path, error) from error


@contextlib.contextmanager
def _stragglers_hushed() -> Iterator[None]:
    """Where one array cannot be read, that the reads of others come too late is not printed.

    Orbax leaves at the first error; TensorStore's threads then find its event loop closed, and
    print a traceback for every other array, whenever they come to it.
    """
    hook, logger = sys.unraisablehook, logging.getLogger("asyncio")

    def unless_closed(found):
        if str(found.exc_value) != "Event loop is closed":
            hook(found)

    sys.unraisablehook = unless_closed
    try:
        yield
    except Exception:
        logger.addFilter(lambda record: "exception was never retrieved" not in record.getMessage())
        raise
    sys.unraisablehook = hook


def check_digests(path: pathlib.Path, leaves: Mapping[str, Mapping], tree: PyTree) -> None:
    """Whether arrays are the ones that were saved; several processes call it together.

    Raises:
      DamagedError: naming the first leaf that is not.
    """
    for name, digest in digests.of(tree).items():
        if digests.text(digest) != leaves[name]["digest"]:
            raise DamagedError(f"{path}: {name} is damaged, for its digest is not the stored one")


def _check_arrays(
    path: pathlib.Path, leaves: Mapping[str, Mapping], reader: ocp.PyTreeCheckpointHandler
) -> PyTree:
    """What is known of each array, once all are found to be what `leaves` says.

    Arrays are stored without compression, so together they hold no more bytes than the files.
    """
    there = sum(f.stat().st_size for f in (path / "state").rglob("*") if f.is_file())
    bytes_of = lambda leaf: math.prod(leaf["shape"]) * np.dtype(leaf["dtype"]).itemsize
    promised = sum(map(bytes_of, leaves.values()))
    if promised > there:
        raise DamagedError(f"{path}: {promised:,} bytes of arrays in {there:,} bytes of files")
    tree = reader.metadata(path / "state").tree
    found = {path_name(p): x for p, x in jax.tree_util.tree_flatten_with_path(tree)[0]}
    for name in sorted(found.keys() | leaves.keys()):
        array, said = found.get(name), leaves.get(name)
        if array is None or said is None:
            raise DamagedError(f"{path}: {name} is in its arrays or in its meta, but not in both")
        pieces = array.storage.chunk_shape if array.storage else ()
        large = any(c > max(size, 1) for c, size in zip(pieces or (), array.shape, strict=False))
        if [*array.shape] != said["shape"] or str(array.dtype) != said["dtype"] or large:
            raise DamagedError(f"{path}: {name} is stored as {array.dtype}{list(array.shape)}")
    return tree


def first_line(error: BaseException) -> str:
    """What an error says, shortened."""
    return (str(error) or type(error).__name__).splitlines()[0][:300]
