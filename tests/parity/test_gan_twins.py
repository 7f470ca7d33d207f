"""The PyTorch twins of the DCGAN workloads do the same work: equal values, equally many numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-parity.txt has PyTorch")

from aigc_jax.gan import losses, networks, penalties  # noqa: E402
from benchmarks.speed.ours import gan as ours  # noqa: E402
from benchmarks.speed.ours import program  # noqa: E402
from benchmarks.speed.twins import gan, training  # noqa: E402

SIZES = {"28x28x1": (28, 1), "8x8x3": (8, 3)}
BATCH = 4


def to_torch(images: np.ndarray):
    """[B, H, W, C] as the twin sees it: turned by 180 degrees."""
    turned = np.asarray(images)[:, ::-1, ::-1].transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(turned))


def of_torch(images) -> np.ndarray:
    return images.detach().numpy().transpose(0, 2, 3, 1)[:, ::-1, ::-1]


def randomised(network, x):
    """Variables without zeros, which would hide where they went; `init` is not compiled."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda v: 0.05 * rng.normal(size=v.shape).astype(np.float32), shapes)


@pytest.fixture(params=SIZES)
def generators(request):
    size, channels = SIZES[request.param]
    network, twin = networks.DcganGenerator((size, size, channels)), gan.Generator(size, channels)
    variables = randomised(network, jnp.zeros((1, gan.LATENTS)))
    variables["batch_stats"] = jax.tree.map(lambda v: v + 1, variables["batch_stats"])
    gan.load_generator(twin, variables["params"])
    for name, norm in enumerate(twin.norms):
        statistics = variables["batch_stats"][f"BatchNorm_{name}"]
        norm.running_mean.copy_(torch.from_numpy(statistics["mean"]))
        norm.running_var.copy_(torch.from_numpy(statistics["var"]))
    return network, twin, variables


@pytest.fixture(params=SIZES)
def discriminators(request):
    size, channels = SIZES[request.param]
    network = networks.DcganDiscriminator((size, size, channels))
    twin = gan.Discriminator(size, channels, dropout=0.0)
    shape = (2, BATCH, size, size, channels)
    real, fake = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    params = randomised(network, real)["params"]
    gan.load_discriminator(twin, params)
    return network, twin, params, real, fake


def test_generator_twin_makes_equal_images(generators):
    network, twin, variables = generators
    z = np.random.default_rng(2).normal(size=(BATCH, gan.LATENTS)).astype(np.float32)
    shown = jax.jit(network.apply)(variables, z)
    train = jax.jit(lambda v: network.apply(v, z, train=True, mutable=["batch_stats"]))
    trained, new = train(variables)
    with torch.no_grad():
        np.testing.assert_allclose(shown, of_torch(twin.eval()(torch.from_numpy(z))), atol=1e-4)
        images = twin.train()(torch.from_numpy(z))
    np.testing.assert_allclose(trained, of_torch(images), atol=1e-4)
    # Variances are not compared: PyTorch keeps unbiased ones.
    last = new["batch_stats"]["BatchNorm_2"]["mean"]
    np.testing.assert_allclose(last, twin.norms[2].running_mean.numpy(), atol=1e-4)
    assert np.std(trained) > 0.01  # else equal images would say little
    assert program.numbers(variables["params"]) == training.numbers(twin)


def test_discriminator_twin_has_equal_losses_and_gradients(discriminators):
    network, twin, params, real, fake = discriminators

    def loss(params):
        judge = lambda x: network.apply({"params": params}, x)
        real_logits, penalty = judge(real), penalties.r1(judge, real, fake, None).mean()
        total = losses.non_saturating(real_logits, judge(fake))[0] + gan.R1_WEIGHT * penalty
        return total, (penalty, real_logits)

    compute = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (penalty, real_logits)), grads = compute(params)
    images = to_torch(real).requires_grad_()
    logits, fake_logits = gan.judged(twin, images, to_torch(fake), apart=True)
    theirs = gan.r1(logits, images)
    total = gan.discriminator_loss(logits, fake_logits) + gan.R1_WEIGHT * theirs
    total.backward()
    np.testing.assert_allclose(real_logits, logits.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(penalty, theirs.item(), rtol=1e-4)
    np.testing.assert_allclose(value, total.item(), rtol=1e-4)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    twin_norm = torch.nn.utils.get_total_norm([p.grad for p in twin.parameters()])
    np.testing.assert_allclose(norm, twin_norm.item(), rtol=1e-4)
    assert program.numbers(params) == training.numbers(twin)


def test_both_sides_run_and_count_alike(monkeypatch):
    monkeypatch.setattr("benchmarks.speed.arrays.IMAGES", 64)
    options = {"size": 8, "channels": 1, "batch": 8, "precision": "float32", "penalty": "r1"}
    built = ours.dcgan(**options), gan.dcgan("eager", **options)
    for timed in built:
        timed.steps(2)
    assert built[0].parameters == built[1].parameters
    assert built[1].flops > 0
