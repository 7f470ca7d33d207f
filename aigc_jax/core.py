"""The whole vocabulary: what a generator is, and the few functions every family shares.

A generator is an `Algorithm`, a tuple of pure functions over a `State`. Algorithms are written for
one global batch and know nothing of devices, data, checkpoints, averages or logs: `advance`,
`with_ema` and `guard.guarded` add what every run needs around them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec

PyTree = Any
Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]

# One master seed feeds four independent streams of keys.
INIT, STEP, EVAL, SAMPLE = 0, 1, 2, 3
BATCH = ("data", "fsdp")  # the axes of a mesh that share a batch


@flax.struct.dataclass
class State:
    """All that a run is: arrays only, so a checkpoint holds all of it and `eval_shape` sees it."""

    step: jax.Array  # i32 [], updates done
    cursor: jax.Array  # i32 [], batches consumed: data = f(seed, cursor)
    params: PyTree  # {"generator": ..., "discriminator": ...}: keyed by network
    opt_state: PyTree  # keyed by optimiser
    mutable: PyTree  # Linen's mutable collections keyed by network, e.g. batch_stats
    ema: PyTree  # {"params": ..., "mutable": ...} of the networks that are averaged
    extra: PyTree  # an algorithm's own memory, documented in its module
    guard: PyTree  # counts of steps that were not finite and were skipped; see guard.py


class Example(NamedTuple):
    """What one batch looks like, known before any data is read."""

    batch: Mapping[str, jax.ShapeDtypeStruct]
    num_classes: int = 0  # 0: the data has no labels
    vocab: int = 0  # 0: the data has no tokens


class InitFn(Protocol):
    """Draws the parameters and everything that goes with them."""

    def __call__(self, key: jax.Array) -> State: ...


class StepFn(Protocol):
    """One update. Only splits the key it gets; `advance` counts `step` and `cursor`."""

    def __call__(self, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]: ...


class EvalFn(Protocol):
    """Per-example values f32 [B], and maybe "weight" f32 [B]; callers average sum(wv) / sum(w)."""

    def __call__(self, state: State, batch: Batch, key: jax.Array) -> Metrics: ...


class SampleFn(Protocol):
    """One sample per key of keys [n]; keyword-only parameters are what a user may set."""

    def __call__(self, state: State, keys: jax.Array, cond: Batch, **options) -> Batch: ...


class HeadFn(Protocol):
    """Another use of the model, such as "reconstruct"."""

    def __call__(self, state: State, batch: Batch, key: jax.Array) -> Batch: ...


class Algorithm(NamedTuple):
    """A trainable generator: pure functions, in the shape of `optax.GradientTransformation`."""

    init: InitFn
    step: StepFn
    eval: EvalFn
    sample: SampleFn
    heads: Mapping[str, HeadFn] = {}
    conditions: Sequence[str] = ()  # the keys that `sample` reads in `cond`, e.g. ("label",)
    batches_per_step: int = 1  # one step gets batches_per_step * batch_size examples
    law: str = ""  # what the head "log_weights" is of, see LAWS of `evaluation.weights`


def stream(seed: int, purpose: int) -> jax.Array:
    """The key of one purpose (`INIT`, `STEP`, `EVAL` or `SAMPLE`) of a run."""
    return jax.random.fold_in(jax.random.key(seed), purpose)


def example_keys(key: jax.Array, n: int, start: int | jax.Array = 0) -> jax.Array:
    """Keys [n] of examples start .. start + n - 1; each depends on its own index alone.

    Noise drawn per example from these is the same however a batch is cut into pieces.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, start + jnp.arange(n))
    # They come from no divided input, so without a word every device would draw them all.
    return over_batch(keys)


def batch_ways() -> int:
    """Over how many devices a batch is divided by the mesh that a step is traced for, if any."""
    mesh = jax.sharding.get_abstract_mesh()  # its axes are not automatic inside of a pmap
    return math.prod(mesh.shape[a] for a in BATCH) if set(BATCH) <= set(mesh.auto_axes) else 1


def over_batch(x: jax.Array) -> jax.Array:
    """[n, ...] divided like a batch where that is possible; what other axes do stays open."""
    if batch_ways() == 1 or x.ndim == 0 or x.shape[0] % batch_ways():
        return x
    spec = PartitionSpec(BATCH, *(PartitionSpec.UNCONSTRAINED for _ in x.shape[1:]))
    return jax.lax.with_sharding_constraint(x, spec)


def normal(keys: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Standard normal noise f32 [n, *shape], row i from keys[i]."""
    return jax.vmap(lambda key: jax.random.normal(key, tuple(shape)))(keys)


def new_state(
    params: PyTree, opt_state: PyTree, mutable: PyTree = None, extra: PyTree = None
) -> State:
    """The state of an algorithm that has taken no step."""
    zero = jnp.zeros((), jnp.int32)
    return State(zero, zero.copy(), params, opt_state, mutable or {}, {}, extra or {}, {})


def shapes_of(algorithm: Algorithm) -> State:
    """The algorithm's state in the abstract; nothing is computed."""
    return jax.eval_shape(lambda: algorithm.init(jax.random.key(0)))


def split_variables(variables: Mapping[str, PyTree]) -> tuple[PyTree, PyTree]:
    """Linen variables {network: {collection: ...}} -> (params, mutable), both keyed by network."""
    params = {name: v["params"] for name, v in variables.items()}
    mutable = {name: {k: v[k] for k in v if k != "params"} for name, v in variables.items()}
    return params, {name: v for name, v in mutable.items() if v}


def update(
    tx: optax.GradientTransformation, grads: PyTree, opt_state: PyTree, params: PyTree
) -> tuple[PyTree, PyTree, jax.Array]:
    """One optax update: (params, optimiser state, global norm of the gradients before clipping)."""
    updates, opt_state = tx.update(grads, opt_state, params)
    grads = tx.mean(grads) if hasattr(tx, "mean") else grads  # of all devices: `averaged_over`
    return optax.apply_updates(params, updates), opt_state, optax.tree.norm(grads)


def value_and_grad(loss: Callable, accumulate: int = 1) -> Callable:
    """Gradient of `loss` over a batch, in `accumulate` microbatches held one at a time.

    `loss(params, mutable, batch, keys) -> (mean loss, (metrics, mutable))`, one key per example.
    The result is called as `(params, mutable, batch, key)` and returns
    `((loss, metrics, mutable), grads)`. Microbatch j holds examples j, j + accumulate, ...:
    strided, so that a batch sharded over devices stays where it is. An example's key does
    not depend on `accumulate`, so losses that are means over examples and draw their noise from
    `keys` get the gradient of the full batch.
    """

    def gradient(params, mutable, batch, keys):
        compute = jax.value_and_grad(loss, has_aux=True)
        (value, (metrics, mutable)), grads = compute(params, mutable, batch, keys)
        return (value, metrics, mutable), grads

    def strided(x):
        return jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0)

    def accumulated(params, mutable, batch, key):
        keys = example_keys(key, jax.tree.leaves(batch)[0].shape[0])
        if accumulate == 1:
            return gradient(params, mutable, batch, keys)

        def microstep(mutable, piece):
            (value, metrics, mutable), grads = gradient(params, mutable, *piece)
            return mutable, (value, metrics, grads)

        def add(carry, piece):
            mutable, total = carry
            mutable, new = microstep(mutable, piece)
            return (mutable, jax.tree.map(jnp.add, total, new)), None

        pieces = jax.tree.map(strided, (dict(batch), keys))
        first = jax.tree.map(lambda x: x[0], pieces)
        rest = jax.tree.map(lambda x: x[1:], pieces)
        carry, _ = jax.lax.scan(add, microstep(mutable, first), rest)
        mutable, total = carry
        value, metrics, grads = jax.tree.map(lambda x: x / accumulate, total)
        return (value, metrics, mutable), grads

    return accumulated


def from_loss(
    loss: Callable,
    networks: Mapping[str, Callable],
    tx: Mapping[str, optax.GradientTransformation],
    *,
    eval: EvalFn,
    sample: SampleFn,
    heads: Mapping[str, HeadFn] | None = None,
    conditions: Sequence[str] = (),
    accumulate: int = 1,
) -> Algorithm:
    """The algorithm of any method with one loss over all its networks.

    Args:
      loss: `(params, mutable, batch, keys, step) -> (mean loss, (metrics, mutable))`.
      networks: `{name: (key) -> Linen variables}`.
      tx: `{"model": optimiser}`, which updates all networks together.
    """

    def init(key):
        keys = jax.random.split(key, len(networks))
        drawn = {name: make(k) for (name, make), k in zip(networks.items(), keys, strict=True)}
        params, mutable = split_variables(drawn)
        return new_state(params, {"model": tx["model"].init(params)}, mutable)

    def step(state, batch, key):
        compute = value_and_grad(lambda *args: loss(*args, state.step), accumulate)
        (value, metrics, mutable), grads = compute(state.params, state.mutable, batch, key)
        params, opt_state, norm = update(tx["model"], grads, state.opt_state["model"], state.params)
        state = state.replace(params=params, opt_state={"model": opt_state}, mutable=mutable)
        return state, {"loss": value, **metrics, "grad_norm": norm}

    return Algorithm(init, step, eval, sample, heads or {}, conditions)


def advance(algorithm: Algorithm, prepare: Callable) -> Callable:
    """(state, raw batch, run key) -> (state, metrics): one counted step on prepared data.

    `prepare(key, raw) -> batch` normalises and augments. The run key is folded with the step, so a
    step draws the same noise wherever the run was interrupted.
    """

    def advanced(state, raw, run_key):
        prepare_key, step_key = jax.random.split(jax.random.fold_in(run_key, state.step))
        new, metrics = algorithm.step(state, prepare(prepare_key, raw), step_key)
        cursor = state.cursor + algorithm.batches_per_step
        return new.replace(step=state.step + 1, cursor=cursor), metrics

    return advanced


def _averageable(tree: PyTree) -> PyTree:
    """Floating-point leaves as they are, others None."""
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else None, tree)


def with_ema(algorithm: Algorithm, decay: float, networks: Sequence[str]) -> Algorithm:
    """Keeps exponential averages of the parameters and float statistics of `networks`.

    ema <- d ema + (1 - d) value with d = min(decay, (1 + step) / (10 + step)), so that short runs
    forget their initial values. Read them with `averaged`.
    """

    def tracked(state):
        pick = lambda tree: {name: tree[name] for name in networks if name in tree}
        return {"params": pick(state.params), "mutable": _averageable(pick(state.mutable))}

    def init(key):
        state = algorithm.init(key)
        # A copy: donating a state that holds the same buffer twice is an error.
        return state.replace(ema=jax.tree.map(jnp.copy, tracked(state)))

    def step(state, batch, key):
        new, metrics = algorithm.step(state, batch, key)
        count = state.step.astype(jnp.float32)
        rate = jnp.minimum(decay, (1 + count) / (10 + count))
        blend = lambda old, value: rate * old + (1 - rate) * value
        return new.replace(ema=jax.tree.map(blend, state.ema, tracked(new))), metrics

    return algorithm._replace(init=init, step=step)


def averaged(state: State) -> State:
    """The state with its averages in place of the raw parameters and statistics."""
    if not state.ema:
        return state
    put = lambda raw, mean: raw if mean is None else mean

    def merge(raw, means):
        new = {
            name: jax.tree.map(put, raw[name], mean, is_leaf=lambda x: x is None)
            for name, mean in means.items()
        }
        return {**raw, **new}

    params = merge(state.params, state.ema["params"])
    return state.replace(params=params, mutable=merge(state.mutable, state.ema["mutable"]))


def path_name(path: Sequence) -> str:
    """The name of a leaf, "generator/Dense_0/kernel", from its key path."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")
