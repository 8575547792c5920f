# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Compare two models of your own
#
# A comparison needs two models and one table of items. Here everything is made on the spot: a table of fruit that are
# to be sorted, and two networks in plain PyTorch that learn to sort them. One has a single hidden layer that serves
# every farm. The other keeps a block of neurons for each farm and uses no other. They come to be about equally
# accurate; what differs is known beforehand, so that you can see whether the comparison finds it.

# %%
import numpy as np
import pandas as pd
import torch
from torch import nn

import mechdecouple as md

FARMS = ("north", "south", "west")

# %% [markdown]
# ## The items
#
# Each fruit is ripe or not, large or not, and comes from one farm. What a model sees is eight noisy measurements,
# and which farm it was. The columns beside the measurements say what is asked of the items:
#
# | column | here |
# |---|---|
# | `answer` | the class that the model is to name: 1 for ripe |
# | `concept_*` | what to look for inside: ripe, large |
# | `context` | where a concept must generalise to: another farm |
# | `group` | what is drawn independently (all fruit of one tree); intervals are over these |


# %%
def fruit(n, seed):
    """Measurements and farms [n, 11], and the table of the items."""
    rng = np.random.default_rng(seed)
    ripe, large, farm = rng.integers(2, size=n), rng.integers(2, size=n), rng.integers(len(FARMS), size=n)
    looks = np.random.default_rng(0).normal(size=(2, 8))
    seen = np.column_stack([2 * ripe - 1, 2 * large - 1]) @ looks + rng.normal(scale=1.3, size=(n, 8))
    table = pd.DataFrame(
        {
            "answer": ripe,
            "concept_ripe": ripe,
            "concept_large": large,
            "context": np.array(FARMS)[farm],
            "group": [f"tree {i // 4}" for i in range(n)],
        }
    )
    return np.column_stack([seen, np.eye(len(FARMS))[farm]]).astype(np.float32), table


x, table = fruit(1200, seed=2)
task = md.Task.from_frame(table, inputs=x, name="fruit")
task

# %% [markdown]
# ## The models
#
# Any `torch.nn.Module` will do. Its named submodules are the hook points: the places where activations can be read.
# Models that read text are loaded by their directory or name instead: `md.load("./my-model")`.


# %%
class Sorter(nn.Module):
    """One hidden layer; where `own_blocks`, each farm has a third of it to itself."""

    def __init__(self, own_blocks, width=96):
        super().__init__()
        self.own_blocks, self.width = own_blocks, width
        self.inner = nn.Linear(8, width)
        self.hidden = nn.ReLU()
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        inner = self.inner(x[:, :8])
        if self.own_blocks:
            inner = inner * x[:, 8:].repeat_interleave(self.width // len(FARMS), dim=1)
        return self.head(self.hidden(inner))


def trained(own_blocks, seed):
    torch.manual_seed(seed)
    model = Sorter(own_blocks)
    inputs, answers = fruit(6000, seed=1)
    inputs, answers = torch.from_numpy(inputs), torch.from_numpy(answers["answer"].to_numpy())
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), answers).backward()
        optimiser.step()
    return model.eval()


one = md.load(trained(False, seed=0), name="one layer for all")
blocks = md.load(trained(True, seed=1), name="a block a farm")

# %% [markdown]
# ## The comparison
#
# `hook_points` names where to look; `families` what to measure. `margin` is declared beforehand: the largest
# difference of accuracy that you would still call equal. The fewer the items, the wider it has to be before equality
# can be shown.

# %%
comparison = md.compare(
    one, blocks, task, hook_points=("hidden",), families=("structure", "similarity"), margin=0.03, progress=False
)
comparison

# %%
print(comparison.summary())

# %% [markdown]
# ## What differs
#
# *CCGP* asks whether the way in which a concept is held at two farms works at the third. The layer that serves all
# farms passes; blocks of their own do not, although within a farm (*probe accuracy*) both can be read equally well.

# %%
measured = comparison.frame()
chosen = measured[measured.metric.isin(["probe_accuracy", "ccgp"]) & measured.model_b.eq("")]
chosen[["model", "hook_point", "concept", "metric", "value", "low", "high", "n"]].reset_index(drop=True)

# %%
md.plot(comparison, "structure")

# %% [markdown]
# ## On your own files
#
# The same from the command line, with a table on disk and a function of your own that returns the model:
#
# ```
# mechdecouple compare my_models:one my_models:blocks --task fruit.csv --inputs fruit.npy --out out/fruit
# ```
#
# It writes `report.html`, the figures and every number. How to read that is the subject of notebook 05. Before you
# write of *recipes* rather than of these two networks, give further runs of each (`seeds_a`, `seeds_b`): one pair
# supports a statement about that pair.
