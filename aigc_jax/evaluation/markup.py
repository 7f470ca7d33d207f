"""HTML as strings in which nothing is forgotten to be escaped: text is text until it is Markup."""

import html
import re
from collections.abc import Iterable
from typing import Any

VOID = ("img", "link", "meta")  # elements without an end tag
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # in an HTML text


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def escaped(text: Any) -> Markup:
    """The HTML that shows `text` as it is; Markup stays what it is."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(FORBIDDEN.sub("\ufffd", str(text))))


def joined(children: Iterable[Any]) -> Markup:
    """All children one after another, each escaped unless it is Markup; None is nothing."""
    return Markup("".join(escaped(child) for child in children if child is not None))


def element(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """<name attributes>children</name>, everything in it escaped unless it is Markup.

    `class_` is class and `data_x` is data-x; an attribute of True stands alone, and one of None
    or False is left out.
    """
    given = {k: v for k, v in attributes.items() if v is not None and v is not False}
    written = [
        key.rstrip("_").replace("_", "-") + ("" if value is True else f'="{escaped(value)}"')
        for key, value in given.items()
    ]
    start = f"<{' '.join([name, *written])}>"
    return Markup(start if name in VOID else f"{start}{joined(children)}</{name}>")
