"""Inception-v3 as the FID has it, in PyTorch: the same parameters must give the same features."""

import torch
import torch.nn.functional as F
from torch import nn


class BasicConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel, **options):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


def mean_of_inside(x):
    """The sum over 3 x 3 pixels over the number of those that lie inside."""
    ones = torch.ones_like(x[:1, :1])
    total = F.avg_pool2d(x, 3, 1, 1, count_include_pad=True)
    return total / F.avg_pool2d(ones, 3, 1, 1, count_include_pad=True)


class Branches(nn.Module):
    """Chains of convolutions beside each other, which parameters are named after.

    A chain is a list of (name, outputs, kernel, options); a list in it forks into its members.
    """

    def __init__(self, inputs: int, chains: list, pool, pooled: int = 0):
        super().__init__()
        self.chains, self.pool, self.pooled = chains, pool, pooled
        for chain in chains:
            width = inputs
            for link in chain:
                for name, outputs, kernel, options in link if isinstance(link, list) else [link]:
                    self.add_module(name, BasicConv2d(width, outputs, kernel, **options))
                width = outputs
        if pooled:
            self.branch_pool = BasicConv2d(inputs, pooled, 1)

    def forward(self, x):
        found = []
        for chain in self.chains:
            h = x
            for link in chain:
                if isinstance(link, list):
                    h = torch.cat([getattr(self, name)(h) for name, *_ in link], 1)
                else:
                    h = getattr(self, link[0])(h)
            found.append(h)
        pooled = self.pool(x)
        found.append(self.branch_pool(pooled) if self.pooled else pooled)
        return torch.cat(found, 1)


def at(name: str, outputs: int, high: int = 1, wide: int = 1) -> tuple:
    return name, outputs, (high, wide), {"padding": (high // 2, wide // 2)}


def down(name: str, outputs: int) -> tuple:
    return name, outputs, 3, {"stride": 2}


def shrink(x):
    return F.max_pool2d(x, 3, 2)


def block_a(inputs: int, pooled: int) -> Branches:
    double = "branch3x3dbl_"
    chains = [
        [at("branch1x1", 64)],
        [at("branch5x5_1", 48), at("branch5x5_2", 64, 5, 5)],
        [at(f"{double}1", 64), at(f"{double}2", 96, 3, 3), at(f"{double}3", 96, 3, 3)],
    ]
    return Branches(inputs, chains, mean_of_inside, pooled)


def block_b(inputs: int) -> Branches:
    double = "branch3x3dbl_"
    chains = [
        [down("branch3x3", 384)],
        [at(f"{double}1", 64), at(f"{double}2", 96, 3, 3), down(f"{double}3", 96)],
    ]
    return Branches(inputs, chains, shrink)


def block_c(inputs: int, c: int) -> Branches:
    seven, double = "branch7x7_", "branch7x7dbl_"
    chains = [
        [at("branch1x1", 192)],
        [at(f"{seven}1", c), at(f"{seven}2", c, 1, 7), at(f"{seven}3", 192, 7, 1)],
        [
            at(f"{double}1", c),
            *(at(f"{double}2", c, 7, 1), at(f"{double}3", c, 1, 7)),
            *(at(f"{double}4", c, 7, 1), at(f"{double}5", 192, 1, 7)),
        ],
    ]
    return Branches(inputs, chains, mean_of_inside, 192)


def block_d(inputs: int) -> Branches:
    seven = "branch7x7x3_"
    chains = [
        [at("branch3x3_1", 192), down("branch3x3_2", 320)],
        [
            *(at(f"{seven}1", 192), at(f"{seven}2", 192, 1, 7)),
            *(at(f"{seven}3", 192, 7, 1), down(f"{seven}4", 192)),
        ],
    ]
    return Branches(inputs, chains, shrink)


def block_e(inputs: int, pool) -> Branches:
    fork = lambda name: [at(f"{name}a", 384, 1, 3), at(f"{name}b", 384, 3, 1)]
    double = "branch3x3dbl_"
    chains = [
        [at("branch1x1", 320)],
        [at("branch3x3_1", 384), fork("branch3x3_2")],
        [at(f"{double}1", 448), at(f"{double}2", 384, 3, 3), fork(f"{double}3")],
    ]
    return Branches(inputs, chains, pool, 192)


class Inception(nn.Module):
    """Images [B, 3, H, W] in [0, 1] -> (features [B, 2048], logits [B, 1008])."""

    def __init__(self, last_pool=lambda x: F.max_pool2d(x, 3, 1, 1)):
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = (
            block_a(inputs, pooled) for inputs, pooled in ((192, 32), (256, 64), (288, 64))
        )
        self.Mixed_6a = block_b(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (
            block_c(768, width) for width in (128, 160, 160, 192)
        )
        self.Mixed_7a = block_d(768)
        self.Mixed_7b, self.Mixed_7c = block_e(1280, mean_of_inside), block_e(2048, last_pool)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x):
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(2 * x - 1)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(shrink(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(shrink(x))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        features = self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))
        return features, self.fc(features)


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Parameters and statistics for which activations neither vanish nor grow."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("bn.weight", "running_var")):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim:
            value.normal_(0, 0.1, generator=generator)
