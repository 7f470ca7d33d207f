"""A byte-level GPT on the source text of Python's standard library, which every machine has.

python train.py --config=configs/gpt_python.py --workdir=runs/gpt_python

Measured on 2 cores: ≤ 5 min with other work on the machine;
1.67 nats/byte, one seed.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model on embedded data, for a few steps."""
    config = dict(
        steps=2000,
        batch_size=12,
        log_every=100,
        eval_every=500,
        save_every=500,
        num_samples=4,
        algorithm=dict(
            name="attention",
            network="Transformer",
            network_args=dict(layers=4, heads=4, dim=128, bias=False),
        ),
        optimizer=dict(
            model=dict(
                name="adamw",
                learning_rate=1e-3,
                learning_rate_schedule="warmup_cosine",
                learning_rate_schedule_args=dict(warmup=100, final=1e-4),
                b2=0.99,
                weight_decay=0.1,
                clip_norm=1.0,
            )
        ),
        data=dict(name="python_text", context=64),
    )
    return variant(config, arg, name="python_text", context=64, limit=20000)
