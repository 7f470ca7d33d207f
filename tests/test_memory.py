"""What a device may hold is asked where it can be answered."""

import types

from aigc_jax import memory


def test_memory_is_asked_of_a_device_of_this_process(monkeypatch):
    """Devices of other processes, the first of a mesh among them, answer with an error."""
    own = types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": 7})
    monkeypatch.setattr(memory.jax, "local_devices", lambda: [own])
    assert memory.available() == 7
    own.memory_stats = lambda: None  # of a CPU nothing is known
    assert memory.available() == memory.host()
