"""A transformer that writes four-voice chorales, trained on those of J. S. Bach in up to 11 keys.

python train.py --config=configs/gpt_chorales.py --workdir=runs/gpt_chorales
python sample.py --workdir=runs/gpt_chorales --num=8 --out=generated_music

Its inputs know the voice (position mod 4) and the sixteenth of the beat (mod 16).

Measured on one core: 13 min, 34 with much other work on the machine; 0.546 ± 0.010 nats/note over
the whole test split.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":test" is its model on embedded data, for a few steps."""
    config = dict(
        steps=900,
        batch_size=16,
        log_every=50,
        eval_every=300,
        save_every=300,
        num_samples=4,
        ema_decay=0.99,
        algorithm=dict(
            name="attention",
            network="Transformer",
            network_args=dict(
                layers=4,
                heads=4,
                dim=128,
                positions="rope",
                periods=(4, 16),
                norm="rms",
                bias=False,
                dropout=0.1,
            ),
        ),
        optimizer=dict(
            model=dict(
                name="adamw",
                learning_rate=3e-3,
                learning_rate_schedule="warmup_cosine",
                learning_rate_schedule_args=dict(warmup=50, final=1e-4),
                b2=0.99,
                weight_decay=0.1,
                clip_norm=1.0,
            )
        ),
        sampling=dict(max_tokens=512),
        data=dict(name="jsb_chorales", context=256, transpose=5),
    )
    return variant(config, arg, name="python_text", context=64, limit=20000)
