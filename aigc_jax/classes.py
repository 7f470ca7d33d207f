"""Classes by name and by number: "dog", "#3", and "3" where no class is named by a number."""

from collections.abc import Iterable, Sequence

from aigc_jax.config import unknown
from aigc_jax.data.dataset import Info

LISTED = 20  # names in a message


def index(word: str, info: Info) -> int:
    """The class that a word means: one of that name, else the one of that number.

    "#3" is number 3 whatever classes are named. "3" is so, too, unless some class has a number for
    a name: then numbers are names.

    Raises:
      ValueError: it is neither; with the nearest name.
    """
    names = names_of(info)
    if word in names:
        return names.index(word)
    numbered = not any(name.lstrip("-").isdecimal() for name in names)
    number = word[1:] if word.startswith("#") else word if numbered else ""
    if number.isdecimal() and int(number) < info.num_classes:
        return int(number)
    if not names or number.lstrip("-").isdecimal():
        raise ValueError(f"--label={word}: must be {accepted(info)}")
    near = unknown(f"--label = {word!r}", names).partition(" Accepted")[0]
    raise ValueError(f"{near} Accepted: {accepted(info)}")


def names_of(info: Info) -> Sequence[str]:
    """The names of the classes, in their order; none where they are the numbers themselves."""
    numbers = tuple(map(str, range(info.num_classes)))
    return () if tuple(info.class_names) == numbers else info.class_names


def accepted(info: Info) -> str:
    """What `index` takes, in words."""
    names, last = names_of(info), info.num_classes - 1
    if not names:
        return f"0 to {last}"
    listed = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    return f"{listed}; or #0 to #{last}"


def named(labels: Iterable[int], info: Info) -> list[str]:
    """The names of labels, none where there are none."""
    return [info.class_names[label] for label in labels] if info.class_names else []


def described(labels: Sequence[int], info: Info) -> str:
    """Which classes samples are of, in a line: "class dog (#3)", "classes 0, 1, 2"."""
    each = list(dict.fromkeys(int(label) for label in labels))
    names = names_of(info)
    words = [f"{names[label]} (#{label})" if names else str(label) for label in each[:LISTED]]
    more = f" and {len(each) - LISTED} more" if len(each) > LISTED else ""
    return f"class{'es' if len(each) > 1 else ''} {', '.join(words)}{more}"
