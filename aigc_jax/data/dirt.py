"""Why a file of the user's can't be used: one word to count by, and a phrase to act on."""

import os
import sys

# The kinds of dirt, in the order of reports.
KINDS = {
    "other": "no file of this kind of data",
    "empty": "nothing inside",
    "unreadable": "damaged",
    "bomb": "too large to be decoded safely",
    "animated": "several pictures in one file",
    "text": "not UTF-8 text",
    "size": "another size than the rest",
    "channels": "other channels than the rest",
    "duplicate": "exact copies of what is kept",
    "near": "almost the same as what is kept",
    "outlier": "unlike the rest",
}


class Unusable(ValueError):
    """A file that can't be used: one of `KINDS`, and the reason as a phrase without its path."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)  # both, so that it can be sent to another process
        self.kind, self.reason = kind, reason

    def __str__(self) -> str:
        return self.reason


def shown(name: str | os.PathLike) -> str:
    r"""A file's name as text of one line: what is no text, or would move a cursor, as \x.. ."""
    name = os.fspath(name)
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def say(text: str) -> None:
    """Prints to stdout; what its encoding lacks as \\x.. , for a name must not stop a run."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
