"""An LSTM on tiny Shakespeare, the baseline of `gpt_shakespeare` at equal steps and batch.

python train.py --config=configs/lstm_shakespeare.py --workdir=runs/lstm_shakespeare

Measured on 2 cores: 3 to 4.2 min with other work on the machine;
1.698 ± 0.005 nats/character.
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
            network="RnnLanguageModel",
            network_args=dict(cell="lstm", layers=2, dim=256),
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
        data=dict(name="tiny_shakespeare", context=64),
    )
    return variant(config, arg, name="python_text", context=64, limit=20000)
