"""What compiled programs must not hold: collectives on one device, copies of caches in loops."""

import math
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest
import tiny_runs

from aigc_jax import compiling, parallel
from aigc_jax.attention import decode, filters
from aigc_jax.attention.transformer import Transformer

COLLECTIVES = {
    *("all-gather", "all-reduce", "all-to-all", "collective-broadcast", "collective-permute"),
    *("ragged-all-to-all", "reduce-scatter"),
}
MOVES = {"copy", "transpose"}
# "  ROOT %name.1 = f32[2,3]{1,0} opcode(%operand), ...", where a tuple stands in parentheses
INSTRUCTION = re.compile(r"^  (?:ROOT )?%\S+ = (\(.*?\)|\S+) ([a-z][\w-]*)\(", re.MULTILINE)
COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) \(.*?^}", re.MULTILINE | re.DOTALL)


def opcodes(text: str) -> set[str]:
    """The operations of an HLO text; one that starts or ends on its own is that operation."""
    return {re.sub("-(start|done)$", "", code) for _, code in INSTRUCTION.findall(text)}


def in_loops(text: str) -> Iterator[str]:
    """The text of every computation that the body of a loop holds or calls, fusions included."""
    computations = {found[1]: found[0] for found in COMPUTATION.finditer(text)}
    waiting, seen = re.findall(r" while\(.*body=%([\w.-]+)", text), set()
    while waiting:
        name = waiting.pop()
        if name in computations and name not in seen:
            seen.add(name)
            yield computations[name]
            waiting += re.findall(r"%([\w.-]+)", computations[name])


def moved_in_loops(text: str, size: int) -> list[str]:
    """The copies and transposes of arrays of `size` numbers in loops, whatever the axes' order."""
    return [
        f"{code} {shape}"
        for computation in in_loops(text)
        for shape, code in INSTRUCTION.findall(computation)
        if code in MOVES and size in map(elements, re.findall(r"\[([\d,]*)\]", shape))
    ]


def elements(dimensions: str) -> int:
    return math.prod(int(n) for n in dimensions.split(",") if n)


def compiled_text(jitted, *args, **kwargs) -> str:
    return compiling.compiled_with_options(jitted.lower(*args, **kwargs)).as_text()


@pytest.fixture
def texts(monkeypatch):
    """The HLO of every program that is compiled as the project does, newest last."""
    found, compiled = [], compiling.compiled_with_options

    def noted(lowered):
        program = compiled(lowered)
        found.append(program.as_text())
        return program

    monkeypatch.setattr(compiling, "compiled_with_options", noted)
    return found


@pytest.mark.parametrize("family", tiny_runs.FAMILIES)
def test_the_step_on_one_device_holds_no_collective(family, texts):
    tiny_runs.Session(tiny_runs.FAMILIES[family]).train(1)
    (text,) = texts
    assert opcodes(text) >= {"fusion", "dot"}
    assert not opcodes(text) & COLLECTIVES


def test_collectives_are_noticed():
    mesh = parallel.make_mesh({"data": 2, "fsdp": 1, "tensor": 1})
    x = jax.device_put(jnp.zeros((4, 3)), parallel.batched(mesh))
    total = jax.jit(lambda x: x.sum(0), out_shardings=parallel.replicated(mesh))
    assert opcodes(compiled_text(total, x)) & COLLECTIVES


# Sizes whose products tell the cache from all other arrays.
ROWS, HEADS, WIDTH, PROMPT, TOKENS = 3, 5, 14, 4, 100
CAPACITIES = decode.capacities(PROMPT - 1, PROMPT - 1 + TOKENS, 128)


def generation(**options) -> str:
    """The HLO of `decode.generate`; its loops are one for each capacity, and those of filters."""
    model = Transformer(37, context=128, dim=HEADS * WIDTH, layers=2, heads=HEADS, **options)
    prompt, length = jnp.zeros((ROWS, PROMPT), jnp.int32), jnp.full(ROWS, PROMPT)
    params = jax.eval_shape(model.init, jax.random.key(0), prompt)["params"]
    keys = jax.random.split(jax.random.key(0), ROWS)
    settings = {"max_tokens": TOKENS, "options": filters.Options(top_k=5)}
    return compiled_text(decode.generate, model, params, prompt, length, keys, **settings)


@pytest.mark.parametrize("options", [{}, {"scan_layers": True, "positions": "rope"}], ids=str)
def test_generation_moves_no_whole_cache_from_token_to_token(options):
    text = generation(**options)
    for capacity in CAPACITIES:
        shape = f"[{ROWS},{HEADS},{capacity},{WIDTH}]"
        assert any(shape in computation for computation in in_loops(text))
        assert not moved_in_loops(text, ROWS * HEADS * capacity * WIDTH)


def columns_first(cache, queries):
    """Attention scores over a cache [B, S, K, H], which the product wants in another order."""

    def next_token(cache, query):
        cache = jax.lax.dynamic_update_slice(cache, query[:, None], (0, 1, 0, 0))
        return cache, jnp.einsum("bkh,bskh->bks", query, cache)

    return jax.lax.scan(next_token, cache, queries)


def turned_over(cache, queries):
    """A cache [B, K, K, H] that changes the order of its axes with every token."""
    step = lambda cache, query: (jnp.swapaxes(cache, 1, 2), cache[:, 0] + query)
    return jax.lax.scan(step, cache, queries)


@pytest.mark.parametrize(("bad", "columns"), [(columns_first, 64), (turned_over, HEADS)])
def test_moves_of_a_cache_are_noticed(bad, columns):
    cache = jnp.zeros((ROWS, columns, HEADS, WIDTH))
    text = compiled_text(jax.jit(bad), cache, jnp.zeros((7, ROWS, HEADS, WIDTH)))
    assert moved_in_loops(text, cache.size)


def test_moves_outside_of_loops_do_not_count():
    def good(cache, queries):
        cache = jax.lax.optimization_barrier(jnp.swapaxes(cache, 1, 2))
        step = lambda total, query: (total + query, total)
        return cache, jax.lax.scan(step, jnp.zeros(queries.shape[1:]), queries)

    cache = jnp.zeros((ROWS, 64, HEADS, WIDTH))
    text = compiled_text(jax.jit(good), cache, jnp.zeros((7, ROWS, HEADS, WIDTH)))
    assert opcodes(text) & MOVES
    assert not moved_in_loops(text, cache.size)
