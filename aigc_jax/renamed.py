"""What was called otherwise, or was no option yet, in runs stored by earlier versions: one table.

Whoever renames or moves an option or a part of a state, or changes the default of an option, adds a
row here, and runs stored before go on, sample and are evaluated as what they are. An option that is
new and whose default changes nothing needs no row: stored configs are completed with defaults.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Rows about options hold the family that they are about, or "" for all."""

    options: tuple[tuple[str, str, str], ...] = ()  # (family, dotted name then, dotted name now)
    before: tuple[tuple[str, str, Any], ...] = ()  # (family, option, what runs without it did)
    leaves: tuple[tuple[str, str], ...] = ()  # (regex of a leaf's name then, its name now)


TABLE = Table()


def config(raw: Mapping[str, Any], table: Table = TABLE) -> dict[str, Any]:
    """A stored config with its options under their names of today."""
    moved = {key: dict(v) if isinstance(v, Mapping) else v for key, v in raw.items()}
    for _, old, new in _of_family(raw, table.options):
        section, name = _section(moved, old)
        if name in section:
            value = section.pop(name)
            section, name = _section(moved, new)
            section.setdefault(name, value)
    return moved


def before(raw: Mapping[str, Any], table: Table = TABLE) -> dict[str, Any]:
    """{dotted option: what runs that do not name it did} where that is not its default of today."""
    return {option: value for _, option, value in _of_family(raw, table.before)}


def leaf(name: str, table: Table = TABLE) -> str:
    """The name of today of a leaf of a stored state, such as "params/generator/Dense_0/kernel"."""
    for pattern, new in table.leaves:
        name = re.sub(pattern, new, name)
    return name


def _of_family(raw: Mapping[str, Any], rows: Iterable[tuple]) -> list[tuple]:
    algorithm = raw.get("algorithm", {})
    family = algorithm.get("name", "gan") if isinstance(algorithm, Mapping) else ""
    return [row for row in rows if row[0] in ("", family)]


def _section(config: dict[str, Any], dotted: str) -> tuple[dict[str, Any], str]:
    """(the innermost section of a dotted option, made where it is not there; the last name)."""
    *sections, name = dotted.split(".")
    for section in sections:
        config[section] = dict(config.get(section, {}))
        config = config[section]
    return config, name
