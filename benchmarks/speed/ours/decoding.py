"""Our decoding workload: whole generations by the project's own sampler, each one compiled call."""

from aigc_jax import build, parallel, samples, start
from benchmarks.speed import arrays
from benchmarks.speed.ours import attention, program
from benchmarks.speed.timed import Timed


def generate(
    *,
    vocab: int,
    context: int,
    dim: int,
    layers: int,
    heads: int,
    batch: int,
    tokens: int,
    precision: str,
    vocab_multiple: int = 1,
) -> Timed:
    """Generation after one start token; one step is `tokens` new tokens of every row."""
    made = attention.gpt_config(dim, layers, heads, vocab_multiple, batch)
    config = program.configured(made, precision)
    info = program.dataset_of_tokens(arrays.tokens(vocab), vocab, context).info
    run = build.run(config, info)
    state = start.first_state(run, parallel.make_mesh(config["mesh"]))
    draw = samples.sampler(run.algorithm, 0, {"max_tokens": tokens}, batch)

    def steps(n: int) -> None:
        for _ in range(n):
            draw(state, batch, {})  # ends with the tokens on the host

    work = flops(dim, layers, vocab, batch, tokens)
    return Timed(steps, program.numbers(state.params), work)


def flops(dim: int, layers: int, vocab: int, batch: int, tokens: int) -> float:
    """FLOPs of the products of one generation with a cache.

    B sum_t (2 (12 layers D^2 + V D) + 4 layers D t), t = 1 .. M the tokens that are attended to.
    """
    matrices = 12 * layers * dim**2 + vocab * dim
    attended = tokens * (tokens + 1) / 2
    return batch * (2.0 * matrices * tokens + 4.0 * layers * dim * attended)
