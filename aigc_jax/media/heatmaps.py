"""Attention weights as a picture: a row for each layer, a column for each head."""

import numpy as np

PAPER, INK, FRAME = "#ffffff", (16, 46, 105), "#c3c8d0"
LABEL = "#5b6370"
SIDE = 132  # pixels that a map is enlarged to at least
GAP, LEFT, TOP = 8, 52, 24  # pixels


def attention(weights: np.ndarray) -> np.ndarray:
    """Maps f32 [layers, heads, T, T], queries downwards and keys to the right, as uint8 [H, W, 3].

    White is 0, dark blue 1; the square root in between, so that small weights can be seen.

    Raises:
      ValueError: the weights have another shape, or are not from 0 to 1.
    """
    from PIL import Image, ImageDraw, ImageFont

    weights = np.asarray(weights, np.float64)
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise ValueError(f"weights of shape {weights.shape}: accepted are [layers, heads, T, T]")
    if not ((weights >= 0) & (weights <= 1 + 1e-4)).all():
        raise ValueError("weights: accepted are numbers from 0 to 1, as a softmax gives them")
    layers, heads, length, _ = weights.shape
    factor = max(1, -(-SIDE // length))
    step = length * factor + GAP
    image = Image.new("RGB", (LEFT + heads * step, TOP + layers * step), PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    for layer in range(layers):
        y = TOP + layer * step
        middle = y + (step - GAP) / 2
        pen.text((LEFT - 8, middle), f"layer {layer + 1}", LABEL, font, "rm")
        for head in range(heads):
            x = LEFT + head * step
            if not layer:
                pen.text((x + (step - GAP) / 2, TOP - 7), f"head {head + 1}", LABEL, font, "ms")
            image.paste(Image.fromarray(_coloured(weights[layer, head], factor)), (x, y))
            pen.rectangle((x - 1, y - 1, x + step - GAP, y + step - GAP), outline=FRAME)
    return np.asarray(image)


def _coloured(weights: np.ndarray, factor: int) -> np.ndarray:
    """[T, T] -> uint8 [factor T, factor T, 3]."""
    strength = np.sqrt(np.clip(weights, 0, 1)).repeat(factor, 0).repeat(factor, 1)[..., None]
    return np.round(255 * (1 - strength) + np.array(INK) * strength).astype(np.uint8)
