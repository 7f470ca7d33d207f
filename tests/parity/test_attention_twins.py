"""The language models of the benchmark's two sides do the same work."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-bench.txt has PyTorch")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from aigc_jax import build  # noqa: E402
from aigc_jax.attention import losses  # noqa: E402
from aigc_jax.attention.rnn import RnnLanguageModel  # noqa: E402
from aigc_jax.attention.transformer import Transformer  # noqa: E402
from benchmarks.speed import workloads  # noqa: E402
from benchmarks.speed.ours import attention as ours  # noqa: E402
from benchmarks.speed.twins import attention as twins  # noqa: E402
from benchmarks.speed.twins import lstm as lstm_twin  # noqa: E402

GPT = {"vocab": 65, "context": 64, "dim": 128, "layers": 4, "heads": 4}  # gpt_small's
SMALL = {"vocab": 11, "context": 8, "dim": 16, "layers": 2, "heads": 2}
LSTM = {"vocab": 65, "dim": 64, "layers": 2}
BATCH = 12


def gpts(**more):
    sizes = GPT | more
    return Transformer(**sizes, bias=False), twins.Gpt(**sizes), twins.Gpt(**sizes), twins.load


def lstms():
    twin = lambda: lstm_twin.LstmLanguageModel(**LSTM)
    return RnnLanguageModel(**LSTM, cell="lstm"), twin(), twin(), lstm_twin.load


CASES = {"gpt": gpts, "padded": lambda: gpts(vocab_multiple=128), "lstm": lstms}


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    """Our network, its parameters, the twin with them, another twin, `load`, and windows."""
    network, twin, empty, load = CASES[request.param]()
    windows = np.random.default_rng(0).integers(0, network.vocab, (BATCH, 65))
    init = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    # Larger than at the start of training, so that no branch is too small to be seen.
    params = jax.tree.map(lambda x: x + 0.05 * np.cos(np.arange(x.size)).reshape(x.shape), init)
    load(twin, params)
    return network, params, twin, empty, load, windows


def close(theirs, mine) -> bool:
    theirs = theirs.detach().numpy()
    return np.abs(theirs - np.asarray(mine)).max() <= 1e-4 * max(1.0, np.abs(mine).max())


def test_logits_are_equal(pair):
    network, params, twin, _, _, windows = pair
    mine = jax.jit(network.apply)({"params": params}, windows[:, :-1])
    theirs = twin(torch.from_numpy(windows[:, :-1]))
    assert theirs.shape == mine.shape
    assert mine.std() > 0.1
    assert close(theirs, mine)


def test_the_loss_and_every_gradient_are_equal(pair):
    network, params, twin, empty, load, windows = pair

    @jax.jit
    @jax.value_and_grad
    def compute(params):
        apply = lambda *args, **kwargs: network.apply({"params": params}, *args, **kwargs)
        hidden = apply(windows[:, :-1], method="hidden")
        logits = lambda hidden: apply(hidden, method="logits")
        return losses.token_nll(logits, hidden, windows[:, 1:], network.vocab).mean()

    value, grads = compute(params)
    loss = twins.loss_of(twin, torch.from_numpy(windows))
    twin.zero_grad()
    loss.backward()
    assert close(loss, value)
    load(empty, grads)  # where each gradient belongs in the twin
    for (name, parameter), grad in zip(twin.named_parameters(), empty.parameters(), strict=True):
        error = (parameter.grad - grad).abs().max()
        assert error <= 1e-4 * grad.abs().max(), name


def test_both_have_as_many_parameters(pair):
    _, params, twin, _, _, _ = pair
    ours_count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert ours_count == sum(p.numel() for p in twin.parameters())


def test_both_optimisers_take_the_same_updates():
    """Clipped, decayed and averaged alike, for gradients above and below the largest norm."""
    network, twin, given, load = gpts(**SMALL)
    params = jax.tree.map(
        lambda leaf: np.cos(np.arange(leaf.size)).reshape(leaf.shape).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"],
    )
    load(twin, params)
    config = ours.config("Transformer", {}, 1) | {"data": {"name": "digits"}}
    tx = build.optimizers(build.configured(config))["model"]
    state, optimizer = tx.init(params), twins.optimizer_of(twin)
    for size in (1.0, 1e-4, 0.1):
        grads = jax.tree.map(lambda x, size=size: size * np.sin(7 * x), params)
        load(given, grads)
        for parameter, grad in zip(twin.parameters(), given.parameters(), strict=True):
            parameter.grad = grad.detach().clone()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    load(given, params)
    for (name, theirs), mine in zip(twin.named_parameters(), given.parameters(), strict=True):
        assert (theirs - mine).abs().max() <= 1e-5, name


def test_both_count_the_same_products():
    network, twin, _, _ = gpts()
    windows = torch.zeros(BATCH, 65, dtype=torch.long)
    mine = ours.matmul_flops(network, BATCH, 64)
    assert twins.matmul_flops(twin, windows) == pytest.approx(mine, rel=0.1)


@pytest.mark.parametrize("name", ["gpt", "lstm"])
def test_both_builders_train_a_model_of_one_size(name):
    options = {"vocab": 11, "context": 8, "dim": 16, "layers": 2, "batch": 4}
    options |= {"precision": "float32"} | ({"heads": 2} if name == "gpt" else {})
    mine, theirs = getattr(ours, name)(**options), getattr(twins, name)("eager", **options)
    mine.steps(2)
    theirs.steps(2)
    assert mine.parameters == theirs.parameters
    assert mine.flops or theirs.flops


def test_workloads_name_builders_that_exist_on_both_sides():
    kinds = {w.builder for w in workloads.WORKLOADS if w.builder.startswith("attention:")}
    for kind in kinds:
        function = kind.partition(":")[2]
        assert callable(getattr(ours, function))
        assert callable(getattr(twins, function))
