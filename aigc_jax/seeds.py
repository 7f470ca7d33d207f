"""The one range of seeds: of a run's config, of the sampler and of an evaluation."""

# A key is made of 32 bits of its seed: any other seed would be one of these under another name.
RANGE = range(2**32)


def fault(given: str, seed: int) -> str:
    """What is wrong with a seed that was `given` so ("--seed=-1"), "" if nothing is."""
    return "" if seed in RANGE else f"{given}: must be from 0 to 2**32 - 1 = {RANGE[-1]}"
