"""Options of the compiler are used where it knows them, and never in the way where it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import compiling


@pytest.mark.parametrize("options", [compiling.CPU, {"xla_no_such_option": "1"}, {}])
def test_a_program_is_compiled_with_any_options(monkeypatch, options):
    monkeypatch.setattr(compiling, "OPTIONS", {"cpu": options})
    x = jax.random.normal(jax.random.key(0), (64, 32))
    program = compiling.compiled_with_options(jax.jit(lambda x: x.T @ x).lower(x))
    np.testing.assert_allclose(program(x), np.asarray(x).T @ np.asarray(x), rtol=1e-4, atol=1e-4)


def test_the_cpus_options_are_known_to_this_compiler():
    """Else they would be dropped in silence, and convolutions take twice the time."""
    jax.jit(jnp.sin).lower(1.0).compile(compiler_options=compiling.CPU)


def test_a_program_is_traced_at_its_first_call_only():
    traces = []
    call = compiling.compiled_once(jax.jit(lambda x: traces.append(1) or x + 1))
    assert [float(call(jnp.float32(n))) for n in range(3)] == [1.0, 2.0, 3.0]
    assert len(traces) == 1
