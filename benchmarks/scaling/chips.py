"""Chips and links: every figure of the scaling study with its unit, its source and what it is.

Three kinds of figures: "vendor peak" stands in a vendor's document, "published" in other public
material, and "assumed" is a choice of this study. None was measured here.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

H100 = "NVIDIA H100 Tensor Core GPU data sheet, SXM5, without sparsity"
H200 = "NVIDIA H200 Tensor Core GPU data sheet, SXM5, without sparsity"
DGX = "NVIDIA DGX H100/H200 user guide"
V5P = "Google Cloud documentation, TPU v5p"
NCCL = "NCCL 2.2x source, src/graph/tuning.cc, protocol LL128"
BOOK = "How to Scale Your Model (jax-ml.github.io/scaling-book), order of magnitude"
STUDY = "this study"
PEAK, PUBLISHED, ASSUMED = "vendor peak", "published", "assumed"


class Figure(NamedTuple):
    """One number of the table."""

    value: float
    source: str
    kind: str  # PEAK, PUBLISHED or ASSUMED


NONE = Figure(0.0, "", "")  # where there is no such thing


class Chip(NamedTuple):
    """One accelerator and the links around it; bandwidths are of one direction of one chip."""

    matrix: Figure  # bf16 products, FLOP/s
    memory: Figure  # HBM, B/s
    inner: Figure  # among the 8 of a node, or along one of three axes of the torus, B/s
    outer: Figure  # between nodes, or along the two other axes, B/s
    whole: Figure  # of a torus: all three axes at once, B/s
    launch: Figure  # of any collective, s
    inner_hop: Figure  # s
    outer_hop: Figure  # of a ring, s
    tree_inner_hop: Figure  # of a tree, s
    tree_hop: Figure  # of a tree between nodes, s
    matrix_share: Figure  # of `matrix` that a step reaches
    memory_share: Figure  # of `memory`
    link_share: Figure  # of `inner`, `outer`, `whole`


# What figures are called, and how they are written: (words, unit, size of the unit).
WORDS: Mapping[str, tuple[str, str, float]] = {
    "matrix": ("bf16 products", "TFLOP/s", 1e12),
    "memory": ("HBM", "GB/s", 1e9),
    "inner": ("link in a node of 8, or one torus axis, one way", "GB/s", 1e9),
    "outer": ("link between nodes, or two torus axes, one way", "GB/s", 1e9),
    "whole": ("all three torus axes, one way", "GB/s", 1e9),
    "launch": ("start of a collective", "µs", 1e-6),
    "inner_hop": ("hop of a ring in a node or torus", "µs", 1e-6),
    "outer_hop": ("hop of a ring between nodes", "µs", 1e-6),
    "tree_inner_hop": ("hop of a tree in a node", "µs", 1e-6),
    "tree_hop": ("hop of a tree between nodes", "µs", 1e-6),
    "matrix_share": ("share of products reached", "", 1),
    "memory_share": ("share of HBM reached", "", 1),
    "link_share": ("share of links reached", "", 1),
}

_SHARES: Mapping[str, Any] = {
    "matrix_share": Figure(0.5, STUDY, ASSUMED),
    "memory_share": Figure(0.8, STUDY, ASSUMED),
    "link_share": Figure(0.8, STUDY, ASSUMED),
}
_HOPPER: Mapping[str, Any] = {
    "inner": Figure(450e9, f"{H100}: NVLink 900 GB/s both ways", PEAK),
    "outer": Figure(50e9, f"{DGX}: one ConnectX-7 of 400 Gb/s for each GPU", PEAK),
    "whole": NONE,  # nodes are switched
    "launch": Figure(14e-6, NCCL, PUBLISHED),
    "inner_hop": Figure(1.9e-6, NCCL, PUBLISHED),
    "outer_hop": Figure(4.0e-6, NCCL, PUBLISHED),
    "tree_inner_hop": Figure(1.25e-6, NCCL, PUBLISHED),
    "tree_hop": Figure(8.5e-6, NCCL, PUBLISHED),
    **_SHARES,
}
CHIPS: Mapping[str, Chip] = {
    "H100": Chip(
        matrix=Figure(989e12, H100, PEAK),
        memory=Figure(3350e9, H100, PEAK),
        **_HOPPER,
    ),
    "H200": Chip(
        matrix=Figure(989e12, H200, PEAK),
        memory=Figure(4800e9, H200, PEAK),
        **_HOPPER,
    ),
    "TPU v5p": Chip(
        matrix=Figure(459e12, V5P, PEAK),
        memory=Figure(2765e9, V5P, PEAK),
        inner=Figure(200e9, f"{V5P}: a third of 1200 GB/s both ways", PEAK),
        outer=Figure(400e9, f"{V5P}: two thirds of 1200 GB/s both ways", PEAK),
        whole=Figure(600e9, f"{V5P}: 1200 GB/s both ways", PEAK),
        launch=Figure(1e-6, BOOK, ASSUMED),
        inner_hop=Figure(1e-6, BOOK, ASSUMED),
        outer_hop=NONE,
        tree_inner_hop=NONE,
        tree_hop=NONE,
        **_SHARES,
    ),
}
