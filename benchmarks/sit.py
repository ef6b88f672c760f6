"""SiT-S/2 on 16 tokens, batch 16: forward and training step against a plain PyTorch module.

The module is the same architecture written for this benchmark in the usual PyTorch way
(`pip install torch`). Both train with AdamW and an exponential moving average, in float32.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import pushforward as pf

from ._timing import ON_GPU, measure, show, to_torch

SHAPE, PATCH, CLASSES, BATCH = (4, 8, 8), 2, 10, 16
STEPS = 500 if ON_GPU else 20


def run() -> list[dict]:
    rng = np.random.default_rng(0)
    batch = (
        rng.uniform(0.1, 0.9, BATCH).astype(np.float32),
        rng.normal(size=(BATCH, *SHAPE)).astype(np.float32),
        rng.normal(size=(BATCH, *SHAPE)).astype(np.float32),
        rng.integers(0, CLASSES, BATCH).astype(np.int32),
    )
    forward, train = ours(batch)
    others = torch_jobs(batch)
    results = []
    for title, job, peer in (("forward", forward, 0), (f"{STEPS} training steps", train, 1)):
        rows = {"pushforward": job}
        if others:
            rows["PyTorch module"] = others[peer]
        times = measure(rows, repeats=5)
        goals = {"PyTorch module": ">= 1x"} if others else {}
        title = f"SiT-S/2, 16 tokens, batch {BATCH}: {title}"
        results.append(show(title, times, "pushforward", goals))
    return results


def ours(batch):
    key = jax.random.key(0)
    net = pf.networks.SiT(SHAPE, pf.networks.SIT_SIZES["S"], CLASSES, patch=PATCH, key=key)
    t, x0, x1, label = jax.tree.map(jnp.asarray, batch)

    @jax.jit
    def forward():
        return jax.vmap(lambda s, x, c: net(s, x, context=c))(t, x1, label)

    objective = pf.objectives.Regression(pf.paths.Linear())
    source = pf.sources.Arrays(pf.sources.Pair(t, x0, x1, label))
    optimiser, ema = optax.adamw(1e-4), pf.drivers.EMA(0.999, ramp=True)

    def train():
        model, _ = pf.fit(
            net, objective, source, steps=STEPS, batch=BATCH, optimiser=optimiser, ema=ema, key=key
        )
        return jax.tree.leaves(model)[0]

    return forward, train


def torch_jobs(batch):
    try:
        import torch
    except ImportError:
        return None
    from ._torch_sit import TorchSiT

    torch.manual_seed(0)
    t, x0, x1, label = to_torch(*batch)
    net = TorchSiT(SHAPE, PATCH, CLASSES, depth=12, width=384, heads=6).to(t.device)
    average = [p.detach().clone() for p in net.parameters()]
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=1e-4)

    def forward():
        with torch.no_grad():
            return net(t, x1, label.long()).cpu().numpy()

    def train():
        s = t[:, None, None, None]
        for _ in range(STEPS):
            loss = ((net(t, (1 - s) * x0 + s * x1, label.long()) - (x1 - x0)) ** 2).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, list(net.parameters()), 0.001)
        return float(loss)

    return forward, train
