"""What an algorithm's own evaluation says of the whole evaluation split."""

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import build, core
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import weights
from aigc_jax.evaluation.results import Findings, Metric, measured, nothing
from aigc_jax.families import direction_of, family

BETTER = {"min": "lower", "max": "higher", "": ""}


def findings(run: build.Run, state: core.State, dataset: Dataset) -> Findings:
    """The averages sum(w v) / sum(w) of all that `Algorithm.eval` gives, as training logs them.

    Which direction is better the algorithm's module says in its DIRECTIONS. Noise is drawn
    from the run's own seed, and batches are as large as those of the training.
    """

    @jax.jit
    def totals(state, batch, counted, key):
        values = dict(run.algorithm.eval(core.averaged(state), batch, key))
        weight = counted * values.pop("weight", 1.0)
        keep = lambda v: jnp.where(weight > 0, v, 0.0)
        return {name: ((weight * keep(v)).sum(), weight.sum()) for name, v in values.items()}

    key, parts = core.stream(run.config["seed"], core.EVAL), []
    for i, piece in enumerate(weights.pieces(run, state, dataset, None, run.config["batch_size"])):
        batch = {name: value for name, value in piece.batch.items() if name != "index"}
        rows = len(piece.batch["index"])
        counted = (np.arange(rows) < piece.count).astype(np.float32)
        parts.append(jax.device_get(totals(state, batch, counted, jax.random.fold_in(key, i))))
    found, (module, _) = nothing(), family(run.config["algorithm"]["name"])
    for name in parts[0]:
        total, weight = np.sum([part[name] for part in parts], axis=0, dtype=np.float64)
        text = f"what the algorithm evaluates, averaged over the {run.info.eval_split} split"
        better = BETTER[direction_of(module, name)]
        mean = Metric(float(total / weight), dataset.eval.length, text, {}, better)
        measured(found, name, lambda mean=mean: mean)
    return found
