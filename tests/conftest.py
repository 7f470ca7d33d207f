"""Eight simulated CPU devices, and a compilation cache that every test shares."""

import os
import pathlib
import tempfile

# Before NumPy is there: where tests run beside each other, threads of its products wait for cores
# that are taken, and a small product takes 40 ms.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax  # noqa: E402
import pytest  # noqa: E402

from aigc_jax import compiling  # noqa: E402

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), "aigc_jax_xla"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def optimised(monkeypatch) -> None:
    """Programs of the project are compiled for speed, as for users, whatever XLA_FLAGS say."""
    full = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
    monkeypatch.setitem(compiling.OPTIONS, "cpu", compiling.CPU | full)


@pytest.fixture
def manual_dir() -> pathlib.Path:
    """The folder with original dataset files, for tests that need real data."""
    folder = os.environ.get("AIGC_MANUAL_DIR")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip("AIGC_MANUAL_DIR does not name a folder of dataset files")
    return pathlib.Path(folder).resolve()
