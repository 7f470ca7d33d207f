"""A reader of the pickle format that can build plain values and nothing else.

A pickle is a program for a stack machine. Python's own machine can be told to import and call; this
one has no such abilities to switch off: names of a pickle are looked up in a table of the caller,
and an instruction that it does not know ends the reading. Instructions are those that
`torch.save` and pickles of plain values are made of, protocols 0 to 4.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

MARK = object()
CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
# Instructions followed by a length of so many bytes and then by text or bytes.
TEXTS = {b"X": 4, b"\x8c": 1, b"T": 4, b"U": 1}
BYTES = {b"B": 4, b"C": 1}
TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
PUT = {b"q": 1, b"r": 4}
GET = {b"h": 1, b"j": 4}


class _Machine:
    """The stack, the memory and the file of one reading."""

    def __init__(self, file: BinaryIO, names: Callable, outside: Callable):
        self.file, self.names, self.outside = file, names, outside
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def read(self, count: int) -> bytes:
        content = self.file.read(count)
        if len(content) != count:
            raise ValueError("it ends too early")
        return content

    def number(self, count: int) -> int:
        return int.from_bytes(self.read(count), "little")

    def line(self) -> str:
        content = self.file.readline()
        if not content.endswith(b"\n"):
            raise ValueError("it ends too early")
        return content[:-1].decode("utf-8")

    def above_mark(self) -> list[Any]:
        last = len(self.stack) - 1
        at = next(i for i in range(last, -1, -1) if self.stack[i] is MARK)
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def value(self, code: bytes) -> Any:
        """What an instruction pushes that needs nothing of the stack but its top."""
        if code in CONSTANTS:
            return CONSTANTS[code]
        if code in NUMBERS:
            (number,) = struct.unpack(NUMBERS[code], self.read(struct.calcsize(NUMBERS[code])))
            return number
        if code in TEXTS:
            return self.read(self.number(TEXTS[code])).decode("utf-8")
        if code in BYTES:
            return self.read(self.number(BYTES[code]))
        if code in GET:
            return self.memory[self.number(GET[code])]
        if code in TUPLES:
            count = TUPLES[code]
            values = tuple(self.stack[-count:])
            del self.stack[-count:]
            return values
        made = PUSHES.get(code)
        if made is None:
            raise ValueError(f"the instruction {code!r} is not one of plain values")
        return made(self)

    def run(self) -> Any:
        while (code := self.read(1)) != b".":
            if code in PUT:
                self.memory[self.number(PUT[code])] = self.stack[-1]
            elif code in ACTIONS:
                ACTIONS[code](self)
            else:
                self.stack.append(self.value(code))
        return self.stack.pop()


def _line_number(machine: _Machine) -> Any:
    text = machine.line()
    return {"00": False, "01": True}[text] if text in ("00", "01") else int(text.removesuffix("L"))


def _quoted(machine: _Machine) -> str:
    text = machine.line()
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"" or "\\" in text:
        raise ValueError(f"a string {text!r}")
    return text[1:-1]


def _long(machine: _Machine) -> int:
    return int.from_bytes(machine.read(machine.number(1)), "little", signed=True)


def _named(machine: _Machine) -> Any:
    module = machine.line()
    return machine.names(module, machine.line())


def _stack_named(machine: _Machine) -> Any:
    name, module = machine.stack.pop(), machine.stack.pop()
    return machine.names(str(module), str(name))


def _called(machine: _Machine) -> Any:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    if not callable(function) or not isinstance(arguments, tuple):
        raise ValueError(f"it calls {function!r}")
    return function(*arguments)


def _dictionary(machine: _Machine) -> dict:
    values = machine.above_mark()
    return dict(zip(values[::2], values[1::2], strict=True))


def _set_items(machine: _Machine) -> None:
    values = machine.above_mark()
    _put_into(machine.stack[-1], values)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _put_into(machine.stack[-1], [key, value])


def _put_into(target: Any, values: list[Any]) -> None:
    if type(target) is not dict:
        raise ValueError(f"it sets items of a {type(target).__name__}")
    target.update(zip(values[::2], values[1::2], strict=True))


def _append(machine: _Machine, values: list[Any]) -> None:
    if type(machine.stack[-1]) is not list:
        raise ValueError(f"it appends to a {type(machine.stack[-1]).__name__}")
    machine.stack[-1].extend(values)


PUSHES: Mapping[bytes, Callable[[_Machine], Any]] = {
    b"(": lambda machine: MARK,
    b"}": lambda machine: {},
    b"]": lambda machine: [],
    b")": lambda machine: (),
    b"d": _dictionary,
    b"l": _Machine.above_mark,
    b"t": lambda machine: tuple(machine.above_mark()),
    b"I": _line_number,
    b"L": _line_number,
    b"\x8a": _long,
    b"F": lambda machine: float(machine.line()),
    b"S": _quoted,
    b"V": lambda machine: machine.line().encode().decode("raw-unicode-escape"),
    b"g": lambda machine: machine.memory[int(machine.line())],
    b"2": lambda machine: machine.stack[-1],
    b"c": _named,
    b"\x93": _stack_named,
    b"R": _called,
    b"Q": lambda machine: machine.outside(machine.stack.pop()),
    b"P": lambda machine: machine.outside(machine.line()),
}
ACTIONS: Mapping[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda machine: machine.read(1),  # the protocol
    b"\x95": lambda machine: machine.read(8),  # the length of what follows
    b"s": _set_item,
    b"u": _set_items,
    b"a": lambda machine: _append(machine, [machine.stack.pop()]),
    b"e": lambda machine: _append(machine, machine.above_mark()),
    b"b": lambda machine: machine.stack.pop(),  # attributes, of which plain values have none
    b"0": lambda machine: machine.stack.pop(),
    b"1": _Machine.above_mark,
    b"p": lambda machine: machine.memory.update({int(machine.line()): machine.stack[-1]}),
    b"\x94": lambda machine: machine.memory.update({len(machine.memory): machine.stack[-1]}),
}


def read(file: BinaryIO, names: Callable, outside: Callable) -> Any:
    """The value of the pickle that begins at the file's position, which is left behind its end.

    Args:
      names: (module, name) -> what stands for it; whatever it returns may be called if it is a
        function, with arguments of the file's choice. Raises for names it does not know.
      outside: what stands for a persistent id.

    Raises:
      ValueError, or whatever a malformed file leads to: IndexError, KeyError, StopIteration.
    """
    return _Machine(file, names, outside).run()
