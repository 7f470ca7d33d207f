"""A rule raises in a new run, and is a line, said once, in a stored one."""

import pytest

from aigc_jax import refusals


def test_outside_of_a_stored_run_a_refusal_is_an_error():
    with pytest.raises(ValueError, match="config.x = -1: must be above 0"):
        refusals.refuse("config.x = -1: must be above 0")


def test_within_a_stored_run_each_refusal_is_said_once_and_nothing_is_raised():
    with refusals.only_said() as said:
        for message in ("a", "b", "a"):
            refusals.refuse(message)
    assert said == ["a", "b"]


def test_an_error_ends_the_leniency():
    with pytest.raises(KeyError), refusals.only_said():
        raise KeyError
    with pytest.raises(ValueError, match="again"):
        refusals.refuse("again")
