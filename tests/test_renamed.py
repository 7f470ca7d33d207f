"""Options and leaves of stored runs under their names of today, from one table."""

import jax
import jax.numpy as jnp
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, config, core, renamed, stored_config, workdir

TABLE = renamed.Table(
    options=(("vae", "algorithm.kl_weight", "algorithm.beta"), ("", "shuffle_seed", "data.seed")),
    before=(("vae", "algorithm.free_bits", 0.5), ("gan", "algorithm.beta", 9.0)),
    leaves=((r"^params/net/(.*)", r"params/model/\1"),),
)
OLD = {"algorithm": {"name": "vae", "kl_weight": 4.0}, "data": {"name": "digits"}}


@pytest.fixture
def table(monkeypatch):
    for function in (renamed.config, renamed.before):
        monkeypatch.setattr(function, "__defaults__", (TABLE,))
    monkeypatch.setattr(renamed.leaf, "__defaults__", (TABLE,))


def test_an_option_moves_with_its_value_and_others_stay():
    moved = renamed.config(OLD | {"shuffle_seed": 3, "seed": 1}, TABLE)
    assert moved == {
        "seed": 1,
        "algorithm": {"name": "vae", "beta": 4.0},
        "data": {"name": "digits", "seed": 3},
    }
    assert OLD["algorithm"] == {"name": "vae", "kl_weight": 4.0}


def test_a_row_is_about_its_family():
    gan = {"algorithm": {"name": "gan", "kl_weight": 4.0}}
    assert renamed.config(gan, TABLE) == gan
    assert renamed.before(gan, TABLE) == {"algorithm.beta": 9.0}


def test_a_config_that_was_stored_is_completed_with_what_it_did(table):
    completed, lacking = stored_config.as_of_today(OLD)
    assert completed["algorithm"]["beta"] == 4.0
    assert completed["algorithm"]["free_bits"] == lacking["algorithm.free_bits"] == 0.5
    assert lacking["algorithm.importance_samples"] == 1  # its default, which changes nothing
    assert not {"algorithm.beta", "data.name"} & lacking.keys()
    assert stored_config.as_of_today(completed) == (completed, {})


def test_a_stored_config_file_is_read_under_todays_names(table, tmp_path):
    import json

    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": OLD}))
    assert config.load(str(path))["algorithm"] == {"name": "vae", "beta": 4.0}


def test_a_default_that_changes_leaves_digests_as_they_were(table):
    """A run that does what runs did before the option was one has the digest of such runs."""
    now = build.complete({"algorithm": {"name": "vae"}, "data": {"name": "digits"}})
    as_before = {**now, "algorithm": {**now["algorithm"], "free_bits": 0.5}}
    before = {k: v for k, v in as_before["algorithm"].items() if k != "free_bits"}
    assert stored_config.digest_of(as_before) == stored_config.digest_of(
        {**now, "algorithm": before}
    )
    assert stored_config.digest_of(now) != stored_config.digest_of(as_before)


def state(params, **fields):
    made = core.new_state(params, {"count": jnp.zeros((), jnp.int32)})
    return made.replace(**fields)


def save(folder, what):
    with checkpoint.Writer(folder, 2, "", "min") as writer:
        writer.save(what.replace(step=jnp.int32(1)), {"config": {}}, {})


def test_a_leaf_is_found_under_its_new_name(table, tmp_path):
    save(tmp_path, state({"net": {"w": jnp.arange(3.0)}}))
    wanted = jax.eval_shape(lambda: state({"model": {"w": jnp.zeros(3)}}))
    assert checkpoint.restore(tmp_path, wanted).params["model"]["w"].tolist() == [0, 1, 2]
    assert set(checkpoint.read_arrays(tmp_path)) >= {"params/model/w"}


def later_state():
    return state(
        {"net": {"w": jnp.zeros(3)}},
        guard={"skipped": jnp.int32(0), "best": {"loss": jnp.float32(7)}},
        mutable={"net": {"spectral": {"u": jnp.full(2, 5.0)}}},
        extra={"p": jnp.float32(0.25)},
    )


def test_fields_and_collections_that_came_later_get_their_initial_values(tmp_path):
    old = state({"net": {"w": jnp.arange(3.0)}}, guard={"skipped": jnp.int32(4)})
    save(tmp_path, old)
    wanted = jax.eval_shape(later_state)
    found = checkpoint.restore(tmp_path, wanted, initial=later_state)
    assert found.params["net"]["w"].tolist() == [0, 1, 2]
    assert int(found.guard["skipped"]) == 4
    assert float(found.guard["best"]["loss"]) == 7
    assert found.mutable["net"]["spectral"]["u"].tolist() == [5, 5]
    assert float(found.extra["p"]) == 0.25
    with pytest.raises(ValueError, match="stored without extra/p, guard/best/loss, mutable"):
        checkpoint.restore(tmp_path, wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"net": {"w": jnp.zeros(3), "b": jnp.zeros(3)}}},
        {"opt_state": {"count": jnp.int32(0), "trace": jnp.zeros(3)}},
        {"ema": {"params": {"net": {"w": jnp.zeros(3)}}}},
        {"mutable": {"net": {"stats": {"mean": jnp.zeros(3), "var": jnp.zeros(3)}}}},
    ],
)
def test_what_a_run_learns_is_never_made_up(tmp_path, change):
    stats = {"net": {"stats": {"mean": jnp.zeros(3)}}}
    save(tmp_path, state({"net": {"w": jnp.arange(3.0)}}, mutable=stats))
    wanted = later_state().replace(mutable=stats, guard={}, extra={}).replace(**change)
    with pytest.raises(ValueError, match="missing there"):
        checkpoint.restore(tmp_path, jax.eval_shape(lambda: wanted), initial=lambda: wanted)


def test_a_run_goes_on_where_its_config_lacks_later_options(tmp_path):
    now = build.complete(tiny_runs.VAE)
    then = {k: v for k, v in now.items() if k != "augment"}
    then["algorithm"] = {k: v for k, v in now["algorithm"].items() if k != "free_bits"}
    record = workdir.about(now, tiny_runs.images()) | {"config": then, "digest": "as it was"}
    with checkpoint.Writer(tmp_path, 2, "", "min") as writer:
        writer.save(state({}).replace(step=jnp.int32(1)), record, {})
    former = workdir.former(tmp_path, now)
    again = workdir.about(now, tiny_runs.images(), former)
    assert again["digest"] == "as it was"
    assert again["filled"] == {f"augment.{k}": v for k, v in now["augment"].items()} | {
        "algorithm.free_bits": 0.0
    }
    other = {**now, "algorithm": {**now["algorithm"], "free_bits": 0.1}}
    with pytest.raises(ValueError, match=r"algorithm\.free_bits: 0\.0 -> 0\.1"):
        workdir.former(tmp_path, other)
    assert workdir.continues(tmp_path, now)
    assert not workdir.continues(tmp_path, other)
