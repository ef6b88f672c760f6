"""The architecture of SiT as a plain PyTorch module: the peer of `benchmarks/sit.py`."""

import math

import torch
from torch import nn
from torch.nn import functional


class TorchBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x, c):
        b1, s1, g1, b2, s2, g2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        n, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x) * (1 + s1) + b1)
        q, k, v = qkv.reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        x = x + g1 * self.project(y.reshape(n, tokens, width))
        y = functional.gelu(self.fc1(self.norm2(x) * (1 + s2) + b2), approximate="tanh")
        return x + g2 * self.fc2(y)


class TorchSiT(nn.Module):
    def __init__(self, shape, patch, classes, depth, width, heads):
        super().__init__()
        channels, side, _ = shape
        self.patch, self.grid, self.channels = patch, side // patch, channels
        self.embed = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Parameter(torch.randn(1, self.grid**2, width), requires_grad=False)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(classes + 1, width)
        self.blocks = nn.ModuleList(TorchBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, patch * patch * channels)

    def forward(self, t, x, label):
        w = torch.exp(-math.log(10000) * torch.arange(128, device=t.device) / 128)
        angle = t[:, None] * w
        c = self.time(torch.cat([torch.cos(angle), torch.sin(angle)], -1)) + self.label(label)
        c = functional.silu(c)
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x, c)
        shift, scale = self.modulation(c)[:, None].chunk(2, dim=-1)
        x = self.output(self.norm(x) * (1 + scale) + shift)
        n, g, p = x.shape[0], self.grid, self.patch
        x = x.reshape(n, g, g, p, p, self.channels)
        return torch.einsum("nhwpqc->nchpwq", x).reshape(n, self.channels, g * p, g * p)
