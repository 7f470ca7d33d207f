"""The PyTorch twins of the VAE workloads do the same work: equal values, equally many numbers."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-parity.txt has PyTorch")

from aigc_jax.vae import bottlenecks, likelihoods, networks, objectives  # noqa: E402
from benchmarks.speed.ours import program  # noqa: E402
from benchmarks.speed.twins import training, vae  # noqa: E402

BATCH, LATENTS = 6, 20
KINDS = {
    "mlp": (vae.Mlp, networks.MlpEncoder, networks.MlpDecoder),
    "convolutional": (vae.Convolutional, networks.ConvEncoder, networks.ConvDecoder),
}


def to_torch(images: np.ndarray):
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def of_torch(images) -> np.ndarray:
    return images.detach().numpy().transpose(0, 2, 3, 1)


@pytest.fixture(params=KINDS)
def pair(request):
    """The twin, our networks and our parameters, copied into the twin."""
    make, encoder, decoder = KINDS[request.param]
    encoder, decoder = encoder(latent_dim=LATENTS), decoder(shape=(28, 28, 1))
    image, z = np.zeros((1, 28, 28, 1), np.float32), np.zeros((1, LATENTS), np.float32)
    params = randomised(encoder, image), randomised(decoder, z)
    twin = make()
    vae.load(twin, *params)
    return twin, encoder, decoder, params


def randomised(network, x):
    """Parameters without zeros, which would hide where they went; `init` is not compiled."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda v: 0.05 * rng.normal(size=v.shape).astype(np.float32), shapes)


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    white = rng.integers(0, 2, (BATCH, 28, 28, 1)).astype(np.float32)
    return white, rng.normal(size=(BATCH, LATENTS)).astype(np.float32)


def test_twin_has_equal_outputs_and_parameter_count(pair, batch):
    twin, encoder, decoder, params = pair
    white, z = batch
    ours = bottlenecks.diagonal_gaussian(encoder.apply({"params": params[0]}, 2 * white - 1))
    with torch.no_grad():
        theirs = vae.moments(twin, to_torch(2 * white - 1))
        logits = twin.decode(torch.from_numpy(z))
    np.testing.assert_allclose(ours.mu, theirs[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.logvar, theirs[1].numpy(), atol=1e-4)
    expected = decoder.apply({"params": params[1]}, z)
    np.testing.assert_allclose(expected, of_torch(logits), atol=1e-4)
    assert np.std(expected) > 0.01  # else equal logits would say little
    assert program.numbers(params) == training.numbers(twin)


def test_twin_has_equal_loss_and_gradients(pair, batch):
    twin, encoder, decoder, params = pair
    white, eps = batch

    def loss(params):
        image = 2 * white - 1
        h = encoder.apply({"params": params[0]}, image)
        posterior = bottlenecks.diagonal_gaussian(h)
        out = decoder.apply({"params": params[1]}, bottlenecks.reparameterize(posterior, eps))
        distortion = -likelihoods.bernoulli().log_prob({}, out, image)
        return objectives.negative_elbo(
            objectives.Terms(distortion[:, None], bottlenecks.kl(posterior), None)
        )

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    theirs = vae.negative_elbo(twin, to_torch(white), torch.from_numpy(eps))
    theirs.backward()
    np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
    ours = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    norm = torch.nn.utils.get_total_norm([p.grad for p in twin.parameters()])
    np.testing.assert_allclose(ours, norm.item(), rtol=1e-4)


def test_both_sides_run_and_count_alike(monkeypatch):
    from benchmarks.speed.ours import vae as ours

    monkeypatch.setattr("benchmarks.speed.arrays.IMAGES", 64)
    options = {"batch": 8, "precision": "float32"}
    built = ours.mlp(**options), vae.mlp("eager", **options)
    for timed in built:
        timed.steps(2)
    assert built[0].parameters == built[1].parameters
    # Two per multiply-add, forward and twice backward, but for the gradient to the pixels.
    weights = 2 * (784 * 512 + 512 * 256) + 256 * 60
    assert built[1].flops == 8 * 2 * (3 * weights - 784 * 512)
