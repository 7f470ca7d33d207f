"""What the values of a config may be: rules that stand beside an option, where it is declared.

    def make(*, clip_norm: Annotated[float, at_least(0, "no limit")] = 0.0): ...

Sections, networks, losses, schedules and data sets, of the project or of one's own, are declared in
this one way, and `check` is all that reads it. Every number, inside of tuples and dicts too, must
be finite, and with a range fit into 32 bits, as all that is computed with, unless that ends higher.
"""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aigc_jax import kinds
from aigc_jax.refusals import refuse

INT32, FLOAT32 = 2**31 - 1, 3.4e38


class Range(NamedTuple):
    """The numbers from `low` to `high`."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    meaning: str = ""  # of `low` itself

    def holds(self, x: float) -> bool:
        """Whether a number is in the range."""
        above = x > self.low if self.open_low else x >= self.low
        return above and (x < self.high if self.open_high else x <= self.high)

    def __str__(self) -> str:
        if self.low > -math.inf and self.high < math.inf and not (self.open_low or self.open_high):
            return f"from {self.low} to {self.high}"
        least = f"above {self.low}" if self.open_low else f"at least {self.low}"
        least += f" ({self.low}: {self.meaning})" if self.meaning else ""
        if self.high == math.inf:
            return least
        return f"{least} and {'below' if self.open_high else 'at most'} {self.high}"


class Some(NamedTuple):
    """A tuple that is not empty."""


class Matters(NamedTuple):
    """The option does something only while another has one of `values`, or is set at all."""

    option: str
    values: Sequence[Any] | None


class Within(NamedTuple):
    """The option and those `beside` it add up to `total` at most."""

    total: str
    beside: Sequence[str]


def at_least(low: float, meaning: str = "") -> Range:
    """From `low` on; `meaning` says what `low` itself stands for."""
    return Range(low, meaning=meaning)


def above(low: float) -> Range:
    """More than `low`."""
    return Range(low, open_low=True)


def up_to(high: float) -> Range:
    """Above 0, and at most `high`."""
    return Range(0, high, open_low=True)


def between(low: float, high: float) -> Range:
    """From `low` to `high`, both included."""
    return Range(low, high)


def below(high: float, low: float = 0) -> Range:
    """From `low`, included, to `high`, excluded: of a decay, or the share that dropout drops."""
    return Range(low, high, open_high=True)


def only_with(option: str, *values: Any) -> Matters:
    """Another option must have one of these values for this one to do anything."""
    return Matters(option, values)


def needs(option: str) -> Matters:
    """Another option must be set for this one to do anything."""
    return Matters(option, None)


def within(total: str, *beside: str) -> Within:
    """This one, with those beside it, is at most the option `total`."""
    return Within(total, beside)


def check(
    function: Callable,
    section: Mapping[str, Any],
    where: str,
    others: Mapping[str, Any] = {},
    hard: Collection[str] = (),
) -> None:
    """Holds the values of a section against the signature that declares them.

    Args:
      where: the path of the section, "config.optimizer.model".
      others: values that rules may refer to beside those of the section and the defaults.
      hard: options that nothing works without: for these it raises in stored runs, too.

    Raises:
      ValueError: naming the option, its value, and the rule.
    """
    for name, fault in faults(function, section, others):
        message = f"{where}.{name} = {section[name]!r}: {fault}"
        if name in hard:
            raise ValueError(message)
        refuse(message)


def faults(
    function: Callable, section: Mapping[str, Any], others: Mapping[str, Any] = {}
) -> Iterator[tuple[str, str]]:
    """(option, what is wrong with its value) of a section, as for `check`."""
    declared = kinds.parameters(function)
    defaults = {k: p.default for k, p in declared.items() if p.default is not p.empty}
    known = {**defaults, **others, **section}
    for name in (name for name in declared if name in section):
        for fault in _faults(declared[name], section[name], known):
            yield name, fault


def _faults(parameter: inspect.Parameter, value: Any, known: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a value; a default is right, whatever its type."""
    plain, default = tuple(value) if isinstance(value, list) else value, parameter.default
    if type(plain) is type(default) and plain == default:
        return
    kind = kinds.annotation_of(parameter)
    if not kinds.fits(value, kind):
        yield f"must be {kinds.shown(kind)}"
        return
    rules = getattr(parameter.annotation, "__metadata__", ())
    ranges = [rule for rule in rules if isinstance(rule, Range)]
    each = ", each" if isinstance(value, list | tuple) else ""
    yield from (fault + each for x in kinds.numbers(value) for fault in _outside(x, ranges))
    for rule in rules:
        if isinstance(rule, Some) and not value:
            yield "must not be empty"
        if isinstance(rule, Within):
            yield from _exceeding(rule, value, known)
        if isinstance(rule, Matters) and value != default:
            yield from _idle(rule, known)


def _outside(x: float, ranges: Sequence[Range]) -> Iterator[str]:
    ends = [rule.high for rule in ranges if rule.high < math.inf]
    limit = max(ends, default=INT32 if isinstance(x, int) else FLOAT32)
    if not math.isfinite(x):
        yield "must be finite"
    elif outside := [rule for rule in ranges if not rule.holds(x)]:
        yield f"must be {outside[0]}"
    elif ranges and abs(x) > limit:
        yield f"must fit into 32 bits, up to {limit:,}"


def _exceeding(rule: Within, value: Any, known: Mapping[str, Any]) -> Iterator[str]:
    added = {name: known[name] for name in rule.beside}
    if known.get(rule.total) is not None and sum(added.values(), value) > known[rule.total]:
        with_them = "".join(f" + {name} = {x}" for name, x in added.items())
        yield f"it{with_them} must be at most {rule.total} = {known[rule.total]}"


def _idle(rule: Matters, known: Mapping[str, Any]) -> Iterator[str]:
    other = known.get(rule.option)
    if rule.values is None and not other:
        yield f"does nothing without {rule.option}; set that too, or leave this out"
    if rule.values is not None and other not in rule.values:
        accepted = " or ".join(map(repr, rule.values))
        yield f"does nothing with {rule.option} = {other!r}, only with {accepted}"
