"""Reads a file of PyTorch parameters without PyTorch, and without running what it holds.

`torch.save` writes pickles, which can name any function for the reader to call. Here only what a
plain state dict consists of is known: an ordered dictionary, a tensor as a view of a storage, and
storages of a few types. Everything else is refused by its name.

Both formats are read: the zip archive of PyTorch 1.6 on, and before it one file of pickles, the
magic number, the version, the system, the dictionary and the storages' keys, and then for each key
the number of its elements as int64 and their bytes.
"""

import math
import os
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from aigc_jax.metrics import pickle_reader

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "ByteStorage": "|u1",
}


class _Storage(NamedTuple):
    dtype: str
    key: str
    count: int  # elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int  # elements from the storage's beginning
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # elements


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    """What `torch._utils._rebuild_tensor_v2` is called with, checked: a tensor yet to be read."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("a tensor without its storage")
    if not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise ValueError(f"a tensor of shape {shape}, offset {offset} and strides {strides}")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= storage.count:
        raise ValueError(f"a tensor of shape {shape} beyond the end of its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _named(module: str, name: str) -> Any:
    """What stands for a name in a state dict; others are refused."""
    if (module, name) == ("collections", "OrderedDict"):
        return lambda pairs=(): dict(pairs)
    if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        return _tensor
    if module == "torch" and name in STORAGES:
        return STORAGES[name]
    raise ValueError(
        f"it names {module}.{name}: a state dict of {', '.join(STORAGES)} is read, and nothing "
        "that a file names is called"
    )


def _storage(pid: Any) -> _Storage:
    """A storage by its persistent id."""
    kind, dtype, key, _, count, *view = pid
    if kind != "storage" or dtype not in STORAGES.values() or any(view):
        raise ValueError(f"a storage {pid!r}")
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"a storage of {count} elements")
    return _Storage(dtype, str(key), count)


def _unpickled(file: BinaryIO) -> Any:
    return pickle_reader.read(file, _named, _storage)


def _view(tensor: _Tensor, data: np.ndarray) -> np.ndarray:
    """The tensor as a read-only view of its storage's elements."""
    if len(data) != tensor.storage.count:
        raise ValueError(f"a storage of {len(data)} elements in place of {tensor.storage.count}")
    strides = [stride * data.itemsize for stride in tensor.strides]
    start = data[tensor.offset :] if math.prod(tensor.shape) else data
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False)


def _checked(found: Any) -> dict[str, _Tensor]:
    good = isinstance(found, dict) and found
    for name, value in found.items() if good else ():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"{name!r} is a {type(value).__name__}: must be a tensor")
    if not good:
        raise ValueError(f"it holds a {type(found).__name__}: must be names with tensors")
    return dict(found)


def _arrays(tensors: dict[str, _Tensor], read: Callable[[_Storage], np.ndarray]) -> dict:
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    data = {key: read(storage) for key, storage in storages.items()}
    return {name: _view(tensor, data[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_zip(path: pathlib.Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{len(pickles)} members data.pkl: must be one")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("numbers are not little-endian")
        with archive.open(pickles[0]) as file:
            tensors = _checked(_unpickled(file))
        read = lambda s: np.frombuffer(archive.read(f"{folder}data/{s.key}"), s.dtype)
        return _arrays(tensors, read)


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    if (_unpickled(file), _unpickled(file)) != (MAGIC, PROTOCOL):
        raise ValueError("neither a zip archive nor a legacy file of torch.save")
    system = _unpickled(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("numbers are not little-endian")
    tensors = _checked(_unpickled(file))
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    data = {}
    for key in _unpickled(file):
        count = int.from_bytes(file.read(8), "little")
        if key not in storages or count != storages[key].count:
            raise ValueError(f"a storage {key!r} of {count} elements that no tensor has")
        dtype = np.dtype(storages[key].dtype)
        data[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return _arrays(tensors, lambda storage: data[storage.key])


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    with path.open("rb") as file:
        return _read_legacy(file)


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Names with arrays of a state dict file (.pth, .pt) or of an .npz file with the same names.

    The arrays of a state dict are read-only views of what was read.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged, or anything but a dictionary of tensors; never is code run.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        return _read(path)
    except Exception as error:  # a damaged pickle can fail in any way
        why = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a state dict: {why}") from error
