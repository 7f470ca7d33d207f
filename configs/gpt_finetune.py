"""Tiny Shakespeare, starting from `gpt_python` and its tokenizer.

python train.py --config=configs/gpt_python.py --workdir=runs/gpt_python
python train.py --config=configs/gpt_finetune.py --workdir=runs/gpt_finetune

Measured on 2 cores: 1 min with other work on the machine;
1.956 ± 0.001 nats/character; from scratch 2.367 ± 0.002.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model from scratch on embedded data."""
    config = dict(
        steps=500,
        batch_size=12,
        log_every=100,
        eval_every=500,
        save_every=500,
        num_samples=4,
        init_from="" if arg else "runs/gpt_python",
        algorithm=dict(
            name="attention",
            network="Transformer",
            network_args=dict(layers=4, heads=4, dim=128, bias=False),
        ),
        optimizer=dict(
            model=dict(
                name="adamw",
                learning_rate=5e-4,
                learning_rate_schedule="warmup_cosine",
                learning_rate_schedule_args=dict(warmup=50, final=5e-5),
                b2=0.99,
                weight_decay=0.1,
                clip_norm=1.0,
            )
        ),
        data=dict(name="tiny_shakespeare", context=64),
    )
    return variant(config, arg, name="python_text", context=64, limit=20000)
