"""A class is what its name says; a number is its place where no class has a number for a name."""

import pytest

from aigc_jax import classes
from aigc_jax.data.dataset import Info


def info(names=(), count=0):
    names = tuple(names)
    made = Info("data", {}, "test", {}, {}, num_classes=count or len(names))
    return made._replace(class_names=names)


NUMBERED = info(sorted(map(str, range(12)), key=str))  # 0, 1, 10, 11, 2, ...
ANIMALS = info(("cat", "dog", "#1"))
BARE = info(count=10)
DIGITS = info(map(str, range(10)))


@pytest.mark.parametrize(
    ("data", "word", "number"),
    [
        (NUMBERED, "2", 4),
        (NUMBERED, "#2", 2),
        (NUMBERED, "10", 2),
        (ANIMALS, "dog", 1),
        (ANIMALS, "1", 1),
        (ANIMALS, "#0", 0),
        (ANIMALS, "#1", 2),  # a name
        (BARE, "7", 7),
        (BARE, "#7", 7),
        (DIGITS, "7", 7),
        (DIGITS, "#7", 7),
    ],
)
def test_a_word_is_a_class(data, word, number):
    assert classes.index(word, data) == number


@pytest.mark.parametrize(
    ("data", "word", "said"),
    [
        (NUMBERED, "12", "'12': unknown"),
        (info(("3", "5")), "0", "Accepted: 3, 5; or #0 to #1"),  # not the first class: no name
        (ANIMALS, "dgo", "did you mean 'dog'"),
        (ANIMALS, "3", "#0 to #2"),
        (ANIMALS, "#3", "--label=#3: must be cat, dog, #1; or #0 to #2"),
        (BARE, "10", "--label=10: must be 0 to 9"),
        (BARE, "-1", "--label=-1: must be 0 to 9"),
        (DIGITS, "10", "--label=10: must be 0 to 9"),
        (BARE, "", "--label=: must be 0 to 9"),
        (BARE, "1.0", "--label=1.0: must be 0 to 9"),
    ],
)
def test_other_words_are_refused_with_what_there_is(data, word, said):
    with pytest.raises(ValueError, match=said):
        classes.index(word, data)


def test_long_lists_are_cut():
    many = info([f"class{i}" for i in range(1000)])
    with pytest.raises(ValueError, match=r"did you mean 'class999'.* or #0 to #999") as raised:
        classes.index("clas999", many)
    assert len(str(raised.value)) < 400
    assert len(classes.described(range(1000), many)) < 400


def test_what_was_drawn_is_said_by_name_and_number():
    assert classes.described([4, 4], NUMBERED) == "class 2 (#4)"
    assert classes.described([1, 0, 1], ANIMALS) == "classes dog (#1), cat (#0)"
    assert classes.described([3, 3], BARE) == "class 3"
