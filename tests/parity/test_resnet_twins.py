"""The PyTorch twin of the SN-ResNet workload does the same work, at a width of 8."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-parity.txt has PyTorch")

from aigc_jax.gan import losses  # noqa: E402
from benchmarks.speed.ours import program  # noqa: E402
from benchmarks.speed.ours import resnet as ours  # noqa: E402
from benchmarks.speed.twins import resnet, training  # noqa: E402

WIDTH, BATCH = 8, 2


def to_torch(images: np.ndarray):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def initialised(network, x):
    """(params, statistics), all random, power iterations at their ends; `init` is not compiled."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)
    rng = np.random.default_rng(0)
    drawn = lambda v: 0.3 * rng.normal(size=v.shape).astype(np.float32)
    params = jax.tree.map(drawn, shapes["params"])
    return params, converged(shapes["batch_stats"], params)


def converged(statistics, params):
    """The singular vectors u that a power iteration of each kernel leaves as they are."""
    if "mean" in statistics:
        return {name: np.ones(value.shape, np.float32) for name, value in statistics.items()}
    if "SpectralNorm_0" not in statistics:
        return {name: converged(value, params[name]) for name, value in statistics.items()}
    ((name, layer),) = params.items()
    kernel = layer["kernel"].reshape(-1, layer["kernel"].shape[-1])
    _, values, right = np.linalg.svd(kernel, full_matrices=False)
    found = {f"{name}/kernel/u": right[:1], f"{name}/kernel/sigma": values[0]}
    assert found.keys() == statistics["SpectralNorm_0"].keys()
    return {"SpectralNorm_0": found}


def test_generator_twin_makes_equal_images():
    z = np.random.default_rng(1).normal(size=(BATCH, ours.LATENTS)).astype(np.float32)
    network = ours.Generator((32, 32, 3), WIDTH)  # attention is on its last map
    params, statistics = initialised(network, z)
    twin = resnet.Generator(32, WIDTH)
    resnet.load(twin, params)
    variables = {"params": params, "batch_stats": statistics}
    train = jax.jit(lambda v: network.apply(v, z, train=True, mutable=["batch_stats"])[0])
    with torch.no_grad():
        theirs = twin.train()(torch.from_numpy(z)).numpy().transpose(0, 2, 3, 1)
    images = train(variables)
    np.testing.assert_allclose(images, theirs, atol=1e-4)
    assert np.std(images) > 0.01  # else equal images would say little
    assert program.numbers(params) == training.numbers(twin)


def test_discriminator_twin_has_equal_loss_and_gradient():
    shape = (2, BATCH, 64, 64, 3)  # attention is on its second map
    real, fake = np.random.default_rng(2).uniform(-1, 1, shape).astype(np.float32)
    network = ours.Discriminator(WIDTH)
    params, statistics = initialised(network, real)
    twin = resnet.Discriminator(64, WIDTH)
    resnet.load(twin, params)

    def loss(params):
        variables = {"params": params, "batch_stats": statistics}
        judge = lambda x: network.apply(variables, x, train=True, mutable=["batch_stats"])[0]
        logits = judge(real), judge(fake)
        return losses.hinge(*logits)[0], logits

    (value, logits), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    theirs = twin(to_torch(real)), twin(to_torch(fake))
    total = resnet.hinge(*theirs)
    total.backward()
    np.testing.assert_allclose(logits[0], theirs[0].detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(value, total.item(), rtol=1e-4)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    twin_norm = torch.nn.utils.get_total_norm([p.grad for p in twin.parameters()])
    np.testing.assert_allclose(norm, twin_norm.item(), rtol=1e-3)
    assert program.numbers(params) == training.numbers(twin)


def test_both_sides_run_and_count_alike(monkeypatch):
    monkeypatch.setattr("benchmarks.speed.arrays.IMAGES", 16)
    options = {"size": 8, "batch": 2, "precision": "bfloat16", "width": 8}
    built = ours.sagan(**options), resnet.sagan("eager", **options)
    for timed in built:
        timed.steps(1)
    assert built[0].parameters == built[1].parameters
    assert built[1].flops > 0
