"""Numbers as a reader wants them: as many digits as matter, thousands apart, powers by letter."""

import math
import re

POWERS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
# Units that take the letter of a power: "3.4 GFLOPs", not "3.4 G FLOPs".
WITH_LETTER = {"bytes": "B", "B": "B", "FLOP": "FLOP", "FLOPs": "FLOPs"}
ARROWS = {"lower": "↓", "higher": "↑"}
NEAR = "→"  # towards a floor
ACRONYMS = "fid kid mse psnr ssim ms elbo nll iw kl"
SPELLINGS = {word: word.upper() for word in ACRONYMS.split()}
SPELLINGS |= {"frechet": "Fréchet", "flops": "FLOPs"}
BEYOND = 1e18  # from here on there is no letter
WHOLE = 1e8  # whole numbers below this are written out


def number(value: float, digits: int = 4) -> str:
    """`value` with so many significant digits: 1.234, 12,345, 3.420 G, 1.2e-5; whole ones whole."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if float(value).is_integer() and size < WHOLE:
        return f"{value:,.0f}"
    if size >= BEYOND or size < 1e-3:
        return _scientific(f"{value:.{max(digits - 2, 0)}e}")
    for power, letter in POWERS:
        if size >= power:
            return f"{_rounded(value / power, digits)} {letter}"
    return _rounded(value, digits)


def _rounded(value: float, digits: int) -> str:
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # of the rounded value: 9.9999 is 10
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}"


def _scientific(written: str) -> str:
    """1.20e-05 as 1.20e-5 and 3.1e+30 as 3.1e30."""
    return re.sub(r"e([+-])0*(?=\d)", r"e\1", written).replace("e+", "e")


def quantity(value: float, unit: str = "", digits: int = 4) -> str:
    """A number with its unit."""
    written = number(value, digits)
    if written[-1:].isalpha() and unit in WITH_LETTER:
        return written + WITH_LETTER[unit]
    return f"{written} {unit}".strip()


def tick(value: float) -> str:
    """A number beside an axis: as short as it can be."""
    size = abs(value)
    if size >= BEYOND or 0 < size < 1e-3:
        return _scientific(f"{value:.3g}")
    for power, letter in (*POWERS, (1e3, "k")):
        if size >= max(power, 1e4):
            return f"{value / power:g}{letter}"
    return f"{value:g}"


def arrow(better: str) -> str:
    """The sign of where better is; nothing where nothing is better."""
    return ARROWS.get(better, NEAR if better else "")


def direction(better: str) -> str:
    """Where better is, in words; `better` is "lower", "higher" or the name of a floor."""
    if better in ("", *ARROWS):
        return f"{better} is better" if better else ""
    return f"nearer to real data ({better}) is better"


def words(name: str) -> str:
    """A metric's name as words: "frechet_distance" is "Fréchet distance", "kid" is "KID"."""
    return " ".join(SPELLINGS.get(word, word) for word in name.split("_"))


def headed(name: str) -> str:
    """The words with a capital at the start."""
    text = words(name)
    return text[:1].upper() + text[1:]
