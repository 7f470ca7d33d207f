"""Chorales through the commands: piano rolls in training, then MIDI, sound and pictures."""

import commands
import mido

from aigc_jax.data import load
from aigc_jax.data.music import pieces_of
from aigc_jax.media import provenance

SMALL = (
    *("steps=2", "log_every=1", "eval_every=2", "save_every=2", "batch_size=4", "eval_batches=1"),
    *("num_samples=2", "sampling.max_tokens=40", "data.context=32", "data.limit=2"),
    *("data.transpose=1", "algorithm.network_args.dim=16", "algorithm.network_args.layers=1"),
)


def test_chorales_are_trained_on_shown_and_written(tmp_path, manual_dir, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    overrides = (*SMALL, f"data.data_dir={tmp_path}", f"data.manual_dir={manual_dir}")
    assert commands.train(run, "gpt_chorales.py", *overrides) == 0
    assert provenance.read(run / "samples" / "step_0000002.png")["step"] == 2
    assert commands.sample(run, out, "--num=2", "--max_tokens=50", "--prompt=| 72 67 64 48") == 0
    names = {path.name for path in out.iterdir()}
    endings = ("mid", "wav", "png", "json")
    assert names == {f"{i:03}.{ending}" for i in range(2) for ending in endings} | {"grid.png"}
    notes = [m for m in mido.MidiFile(out / "001.mid").tracks[1] if m.type == "note_on"]
    assert notes[0].note == 72  # the prompt's soprano
    (tmp_path / "own").mkdir()
    for path in out.glob("*.mid"):
        path.rename(tmp_path / "own" / path.name)
    own = {"name": str(tmp_path / "own"), "data_dir": str(tmp_path), "context": 32}
    again = load.load(own | {"max_rejected": 0})  # what was written is a data set
    assert len(pieces_of(again.train.arrays["tokens"])) == 1
    assert commands.sample(run, out, "--num=1", "--max_tokens=3") == 2
    assert "none has a whole frame" in capsys.readouterr().err
