"""State dicts are read from pickles written by hand, and pickles that do more are refused."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from aigc_jax.metrics import pickle_reader, torch_file

VALUES = np.arange(6, dtype="<f4")


def storage(dtype: str = "FloatStorage", count: int = 6, kind: str = "storage") -> bytes:
    """Opcodes that leave a storage on the stack."""
    words = f"(S'{kind}'\nctorch\n{dtype}\nS'0'\nS'cpu'\nI{count}\ntQ"
    return words.encode()


def tensor(where: bytes, offset: int = 0, shape: str = "I2\nI3\n", strides: str = "I3\nI1\n"):
    """Opcodes that leave a tensor on the stack."""
    rest = f"I{offset}\n({shape}t({strides}tI00\nccollections\nOrderedDict\n)RtR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + rest.encode()


def dictionary(value: bytes) -> bytes:
    return b"(dS'w'\n" + value + b"s."


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def save(tmp_path):
    """(pickle, format, storage's bytes) -> a file that torch.save could have written."""

    def write(body: bytes, kind: str = "zip", data: bytes = VALUES.tobytes()):
        path = tmp_path / "weights.pth"
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("weights/data.pkl", body)
                archive.writestr("weights/byteorder", "little")
                archive.writestr("weights/data/0", data)
            return path
        head = (torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True})
        before = b"".join(pickle.dumps(value, 2) for value in head)
        after = pickle.dumps(["0"], 2) + (len(data) // 4).to_bytes(8, "little") + data
        path.write_bytes(before + body + after)
        return path

    return write


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_both_formats_hold_the_tensor(save, kind):
    read = torch_file.load(save(dictionary(tensor(storage())), kind))
    assert list(read) == ["w"]
    np.testing.assert_array_equal(read["w"], VALUES.reshape(2, 3))
    assert read["w"].dtype == np.float32


def test_offset_and_strides_place_a_tensor_in_its_storage(save):
    body = dictionary(tensor(storage(), 1, "I2\nI2\n", "I1\nI3\n"))
    np.testing.assert_array_equal(torch_file.load(save(body))["w"], [[1, 4], [2, 5]])


def test_npz_files_have_the_same_names(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"a.b": VALUES})
    np.testing.assert_array_equal(torch_file.load(tmp_path / "weights.npz")["a.b"], VALUES)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_what_a_file_names_is_never_called(save, tmp_path, kind):
    trap = tmp_path / "made"
    for evil in (Evil(trap), {"w": Evil(trap)}):
        path = save(pickle.dumps(evil, 2), kind)
        with pytest.raises(ValueError, match=r"weights.pth: .*names (posix|nt|os)\.mkdir"):
            torch_file.load(path)
    path.write_bytes(pickle.dumps(Evil(trap)))  # in place of the magic number
    with pytest.raises(ValueError, match="mkdir"):
        torch_file.load(path)
    assert not trap.exists()


def test_pickled_arrays_in_npz_are_refused(tmp_path):
    trap = tmp_path / "made"
    np.savez(tmp_path / "weights.npz", a=np.array([Evil(trap)], object))
    with pytest.raises(ValueError, match="weights.npz"):
        torch_file.load(tmp_path / "weights.npz")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (dictionary(tensor(storage("DoubleStorage"))), "names torch.DoubleStorage"),
        (dictionary(b"cbuiltins\neval\n(S'1'\ntR"), "names builtins.eval"),
        (dictionary(b"cbuiltins\ngetattr\n"), "names builtins.getattr"),
        (dictionary(tensor(storage(kind="module"))), "a storage"),
        (dictionary(tensor(storage(), 1)), "beyond the end"),
        (dictionary(tensor(storage(count=60), 1)), "6 elements in place of 60"),
        (dictionary(tensor(storage(), 0, strides="I3\nI-1\n")), "strides"),
        (dictionary(tensor(storage(), 0, strides="I3\n")), "without its storage"),
        (dictionary(tensor(b"S'0'\n")), "without its storage"),
        (dictionary(b"I3\n"), "'w' is a int: must be a tensor"),
        (b"(lI3\na.", "holds a list"),
        (b"(d.", "holds a dict"),
        (b"(dS'w'\n", "weights.pth"),
    ],
)
def test_anything_but_names_with_tensors_is_refused(save, body, said):
    with pytest.raises(ValueError, match=said):
        torch_file.load(save(body))


def test_damaged_files_are_refused(save, tmp_path):
    for kind in ("zip", "legacy"):
        path = save(dictionary(tensor(storage())), kind)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match="weights.pth: not a state dict"):
            torch_file.load(path)
    path.write_bytes(b"<html>")
    with pytest.raises(ValueError, match="weights.pth: not a state dict"):
        torch_file.load(path)
    with pytest.raises(FileNotFoundError, match="none.pth"):
        torch_file.load(tmp_path / "none.pth")


def test_a_file_cannot_change_the_reader():
    """BUILD sets attributes of what is on the stack; here it has none to set."""
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(dS'mark'\nI1\nsb."
    marked = torch_file._unpickled(io.BytesIO(body))
    assert not hasattr(marked, "mark")


PLAIN = {"a": [1, -2, 300, 70_000, 2**40, 1.5, None, True], "b": ((), (1,), (1, 2), (1, 2, 3, "x"))}


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_are_read_as_python_reads_them(protocol):
    for value in (PLAIN, [PLAIN, PLAIN], {"name": "é" if protocol else "e", "bytes": [b""][:0]}):
        file = io.BytesIO(pickle.dumps(value, protocol) + b"rest")
        assert pickle_reader.read(file, None, None) == value
        assert file.read() == b"rest"


@pytest.mark.parametrize(
    "body", [b"", b"(", b"K", b".", b"X\xff\xff\xff\x7fa", b"t.", b"h\x01.", b"R."]
)
def test_a_malformed_pickle_is_an_error_and_no_more(body):
    with pytest.raises((ValueError, IndexError, KeyError, StopIteration)):
        pickle_reader.read(io.BytesIO(body), None, None)


@pytest.mark.parametrize("code", [b"i", b"o", b"\x81", b"\x92", b"\x82"])
def test_instructions_that_make_objects_are_unknown(code):
    with pytest.raises(ValueError, match="plain values"):
        pickle_reader.read(io.BytesIO(b"(" + code + b"."), None, None)
