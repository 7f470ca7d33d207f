import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.extend.core import Primitive

from aigc_jax import core, flops


def struct(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def by_xla(function, *args):
    return jax.jit(function).lower(*args).cost_analysis()["flops"]


def convolve(x, kernel, strides, padding="SAME", **options):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=layout, **options
    )


def mlp_loss(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return jnp.mean(x**2)


MLP = ([struct(32, 64), struct(64, 64), struct(64, 8)], struct(16, 32))


def test_matmul_takes_two_operations_per_multiply_add():
    counted = flops.of(jnp.matmul, struct(3, 5), struct(5, 7))
    assert counted == flops.Flops(matmul=2 * 3 * 5 * 7)


def test_batched_matmul_counts_every_matrix():
    counted = flops.of(
        lambda x, y: jnp.einsum("bij,bkj->bik", x, y), struct(4, 3, 5), struct(4, 7, 5)
    )
    assert counted.matmul == 4 * 2 * 3 * 5 * 7


def test_strided_convolution():
    strided = functools.partial(convolve, strides=(2, 2), padding="VALID")
    counted = flops.of(strided, struct(2, 9, 9, 3), struct(3, 3, 3, 8))
    assert counted == flops.Flops(matmul=2 * (2 * 4 * 4 * 8) * (3 * 3 * 3))


def test_padding_is_not_multiplied():
    counted = flops.of(
        functools.partial(convolve, strides=(1, 1)), struct(1, 3, 3, 1), struct(3, 3, 1, 1)
    )
    # Along one axis the three windows meet 2, 3 and 2 real inputs.
    assert counted.matmul == 2 * (2 + 3 + 2) ** 2


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((5, 5, 8, 16), dict(strides=(2, 2))),
        ((5, 5, 8, 16), dict(strides=(1, 1), rhs_dilation=(2, 1))),
        ((4, 4, 8, 16), dict(strides=(1, 1), padding=((2, 2), (1, 3)), lhs_dilation=(2, 2))),
        ((3, 3, 2, 16), dict(strides=(2, 1), feature_group_count=4)),
    ],
)
def test_convolutions_and_their_gradients_agree_with_xla(kernel, options):
    def loss(x, kernel):
        return jnp.sum(convolve(x, kernel, **options) ** 2)

    args = struct(4, 14, 14, 8), struct(*kernel)
    for function in (loss, jax.grad(loss, (0, 1))):
        counted = flops.of(function, *args)
        assert counted.total == pytest.approx(by_xla(function, *args), rel=0.02)


def test_gradient_of_a_convolution_counts_like_two_forward_passes():
    forward = lambda x, kernel: convolve(x, kernel, (2, 2))
    args = struct(4, 14, 14, 8), struct(5, 5, 8, 16)
    backward = lambda x, kernel, g: jax.vjp(forward, x, kernel)[1](g)
    once = flops.of(forward, *args).matmul
    assert flops.of(backward, *args, struct(4, 7, 7, 16)).matmul == 2 * once


def test_mlp_gradient_agrees_with_xla():
    gradient = jax.grad(mlp_loss)
    counted = flops.of(gradient, *MLP)
    weights, x = MLP
    forward = 2 * x.shape[0] * sum(w.size for w in weights)
    # Backward needs two products per layer, but nothing flows into the data.
    assert counted.matmul == 3 * forward - 2 * x.shape[0] * weights[0].size
    assert counted.total == pytest.approx(by_xla(gradient, *MLP), rel=0.02)


def test_reductions_count_their_inputs_and_moves_nothing():
    assert flops.of(jnp.sum, struct(4, 6)) == flops.Flops(other=24)
    assert flops.of(jnp.exp, struct(4, 6)) == flops.Flops(other=24)
    assert flops.of(lambda x: x.T.reshape(-1)[::2].astype(jnp.bfloat16), struct(4, 6)).total == 0
    pool = lambda x: nn.max_pool(x, (2, 2), (2, 2))
    assert flops.of(pool, struct(1, 8, 8, 3)) == flops.Flops(other=8 * 8 * 3)


def test_scatter_add_counts_what_is_added():
    embed = lambda table: jnp.sum(table[jnp.array([0, 3])] * 2.0)
    counted = flops.of(jax.grad(embed), struct(1000, 4))
    assert counted.total < 100


def chain(length):
    def apply(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, None, length=length)[0]

    return apply


def test_scan_takes_length_times_its_body():
    args = struct(4, 8), struct(8, 8)
    assert flops.of(chain(7), *args).total == 7 * flops.of(jnp.matmul, *args).total


def test_nested_scans_multiply():
    def nested(x, w):
        return jax.lax.scan(lambda x, _: (chain(3)(x, w), None), x, None, length=5)[0]

    args = struct(4, 8), struct(8, 8)
    assert flops.of(nested, *args).total == 15 * flops.of(jnp.matmul, *args).total


def test_gradient_of_a_scan_takes_its_length_too():
    loss = lambda length: lambda x, w: jnp.sum(chain(length)(x, w))
    counted = [flops.of(jax.grad(loss(n), 1), struct(4, 8), struct(8, 8)).matmul for n in (2, 3, 4)]
    assert counted[2] - counted[1] == counted[1] - counted[0] == 3 * 2 * 4 * 8 * 8


def test_loop_of_unknown_length_counts_once_and_says_so():
    def until(x, w):
        return jax.lax.while_loop(lambda x: jnp.sum(x) < 1, lambda x: x @ w, x)

    counted = flops.of(until, struct(4, 8), struct(8, 8))
    assert counted.matmul == 2 * 4 * 8 * 8
    assert counted.open_loops == 1


def test_conditional_takes_its_most_expensive_branch():
    def choose(flag, x, w):
        return jax.lax.cond(flag, lambda: x @ w @ w, lambda: x @ w)

    flag = jax.ShapeDtypeStruct((), bool)
    assert flops.of(choose, flag, struct(4, 8), struct(8, 8)).matmul == 2 * 2 * 4 * 8 * 8


@jax.custom_vjp
def cubed(x):
    return x @ x @ x


cubed.defvjp(lambda x: (cubed(x), x), lambda x, g: (g @ x,))


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint])
def test_wrapped_functions_are_looked_into(wrap):
    assert flops.of(wrap(lambda x: x @ x), struct(8, 8)).matmul == 2 * 8**3


def test_own_derivative_is_counted_as_it_is_written():
    assert flops.of(cubed, struct(8, 8)).matmul == 2 * 2 * 8**3
    assert flops.of(jax.grad(lambda x: jnp.sum(cubed(x))), struct(8, 8)).matmul == 2 * 8**3


def test_rematerialisation_counts_the_second_forward_pass():
    layer = lambda x, w: jnp.sum(jnp.tanh(x @ w) @ w)
    args = struct(4, 8), struct(8, 8)
    plain, remat = (
        flops.of(jax.value_and_grad(f, 1), *args) for f in (layer, jax.checkpoint(layer))
    )
    assert remat.matmul == plain.matmul + 2 * 4 * 8 * 8


def test_what_no_output_needs_is_left_out():
    def wasteful(x, w):
        used, _ = jax.jit(lambda: (x @ w, jnp.exp(x) @ w))()
        return used

    assert flops.of(wasteful, struct(4, 8), struct(8, 8)) == flops.Flops(matmul=2 * 4 * 8 * 8)


@pytest.mark.parametrize(("kernel", "products"), [("fwd", 2), ("bwd", 4)])
def test_fused_attention_counts_like_plain_attention(kernel, products):
    fused = Primitive(f"dot_product_attention_{kernel}_wrapper")
    fused.def_abstract_eval(lambda q, k, v: q)
    plain = functools.partial(jax.nn.dot_product_attention, is_causal=True)
    q, k = struct(2, 16, 4, 8), struct(2, 24, 4, 8)
    counted = flops.of(fused.bind, q, k, k).matmul
    forward = flops.of(plain, q, k, k).matmul
    assert counted == forward * products // 2


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_costs_the_products_of_the_full_batch(accumulate):
    def loss(params, mutable, batch, keys):
        return mlp_loss(params, batch["x"]), ({}, mutable)

    key = jax.eval_shape(lambda: jax.random.key(0))
    args = MLP[0], {}, {"x": MLP[1]}, key
    full, pieces = (flops.of(core.value_and_grad(loss, n), *args) for n in (1, accumulate))
    assert pieces.matmul == full.matmul
