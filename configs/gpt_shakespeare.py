"""A character-level GPT on tiny Shakespeare, at nanoGPT's setting for a CPU.

python train.py --config=configs/gpt_shakespeare.py --workdir=runs/gpt_shakespeare

Measured on 2 cores: 4 to 6.4 min with other work on the machine;
1.905 ± 0.007 nats/character.

python train.py --config=configs/gpt_shakespeare.py:gpu --workdir=runs/gpt_shakespeare_gpu

At nanoGPT's setting for a GPU, whose README reports a best validation loss of 1.4697 on random
crops; here the whole validation split counts. Time and score: not measured yet.
"""

from aigc_jax.config import variant


def get_config(arg: str = "") -> dict:
    """The experiment; ":gpu" is larger, ":test" its model on embedded data, for a few steps."""
    config = _on_cpu() if arg != "gpu" else _on_gpu()
    return variant(config, arg, ["gpu"], name="python_text", context=64, limit=20000)


def _on_cpu() -> dict:
    return dict(
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
        data=dict(name="tiny_shakespeare", context=64),
    )


def _on_gpu() -> dict:
    config = _on_cpu() | dict(
        steps=5000,
        batch_size=64,
        eval_every=250,
        save_every=250,
        steps_per_call=50,
        precision="bfloat16",
        keep_best="nll",
        data=dict(name="tiny_shakespeare", context=256),
    )
    network = dict(layers=6, heads=6, dim=384, bias=False, dropout=0.2)
    return config | dict(algorithm=config["algorithm"] | dict(network_args=network))
