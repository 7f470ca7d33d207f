"""The LSTM language model in PyTorch: `nn.LSTM` between an embedding and a linear layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


class LstmLanguageModel(nn.Module):
    """Stacked LSTM over token embeddings; every sequence starts from a zero state."""

    def __init__(self, vocab: int, dim: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, dim)
        self.cells = nn.LSTM(dim, dim, layers)
        self.head = nn.Linear(dim, vocab)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Next-token logits: i64 [B, T] -> [B, T, V]."""
        hidden, _ = self.cells(self.embed(tokens.T))  # time first, as the recurrence reads it
        return self.head(hidden).transpose(0, 1)


def load(model: LstmLanguageModel, params: Mapping[str, Any]) -> None:
    """Copies the parameters of an `RnnLanguageModel(cell="lstm")` of the same sizes.

    Both order the gates i, f, g, o and add the input's and the recurrent bias.
    """
    weights = {
        "embed.weight": params["embed"]["embedding"],
        "head.weight": params["head"]["kernel"].T,
        "head.bias": params["head"]["bias"],
    }
    for i in range(model.cells.num_layers):
        layer = params[f"cells_{i}"]
        weights[f"cells.weight_ih_l{i}"] = layer["in"]["kernel"].T
        weights[f"cells.bias_ih_l{i}"] = layer["in"]["bias"]
        weights[f"cells.weight_hh_l{i}"] = layer["kernel"].T
        weights[f"cells.bias_hh_l{i}"] = layer["bias"]
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})
