"""The decoders of the benchmark's two sides write the same texts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-bench.txt has PyTorch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from aigc_jax.attention import decode, filters  # noqa: E402
from aigc_jax.attention.transformer import Transformer  # noqa: E402
from benchmarks.speed.ours import decoding as ours  # noqa: E402
from benchmarks.speed.twins import attention, decoding  # noqa: E402

SIZES = {"vocab": 65, "context": 64, "dim": 128, "layers": 4, "heads": 4}  # decode_small's
SMALL = {"vocab": 11, "context": 16, "dim": 16, "layers": 2, "heads": 2}
BATCH, TOKENS = 3, 63


@pytest.fixture(scope="module")
def pair():
    """Our network with parameters that write varied texts, and the twin with the same."""
    network, twin = Transformer(**SIZES, bias=False), attention.Gpt(**SIZES)
    init = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    params = jax.tree.map(lambda x: x if x.ndim == 1 else 6 * x, init)
    attention.load(twin, params)
    return network, params, twin.eval()


@pytest.fixture(scope="module")
def text(pair):
    """What the cache-less twin writes when it takes the likeliest token."""
    return decoding.without_cache(pair[2], BATCH, TOKENS, decoding.greedy)()


def test_the_text_is_no_repetition_of_one_token(text):
    assert len(text[0].unique()) > 10


def test_our_decoder_writes_the_twins_text(pair, text):
    network, params, _ = pair
    prompt, length = jnp.zeros((BATCH, 1), jnp.int32), jnp.ones((BATCH,), jnp.int32)
    keys, options = jax.random.split(jax.random.key(0), BATCH), filters.Options(temperature=0.0)
    mine = decode.generate(
        network, params, prompt, length, keys, max_tokens=TOKENS, options=options
    )
    np.testing.assert_array_equal(mine, text)


def test_the_twins_growing_cache_writes_the_same(pair, text):
    decoder = decoding.Decoder(pair[2], BATCH, TOKENS, decoding.greedy)
    run = decoding.with_cache(decoder, "eager", BATCH, TOKENS)
    assert torch.equal(run(), text)
    assert torch.equal(run(), text)  # what the cache holds from before is not seen


def test_the_twins_fixed_cache_writes_the_same(pair, text):
    decoder = decoding.Decoder(pair[2], BATCH, TOKENS, decoding.greedy)
    places = torch.arange(TOKENS).split(1)
    for _ in range(2):
        written = decoding.one_by_one(decoder.masked, places, BATCH, torch.device("cpu"))
        assert torch.equal(written, text)


def test_the_twin_draws_tokens_as_often_as_the_logits_say():
    torch.manual_seed(0)
    logits, draws = torch.tensor([0.0, 1.0, -1.0, 2.0]), 40_000
    drawn = decoding.sampled(logits.expand(draws, -1))
    shares = drawn[:, 0].bincount(minlength=4) / draws
    assert (shares - logits.softmax(0)).abs().max() < 0.01  # 4 standard deviations


def test_the_formula_counts_the_products_of_the_cached_loop():
    twin = attention.Gpt(**SMALL)
    decoder = decoding.Decoder(twin, BATCH, 15, decoding.greedy)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        decoding.with_cache(decoder, "eager", BATCH, 15)()
    assert counter.get_total_flops() == ours.flops(16, 2, 11, BATCH, 15)


@pytest.mark.parametrize("mode", ["eager", "no_cache"])
def test_both_builders_decode_with_a_model_of_one_size(mode):
    options = SMALL | {"batch": 2, "tokens": 15, "precision": "float32"}
    mine, theirs = ours.generate(**options), decoding.generate(mode, **options)
    mine.steps(1)
    theirs.steps(1)
    assert mine.parameters == theirs.parameters
