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
# # Reading a report
#
# A comparison writes a directory: a page to read, figures and tables for a paper, and every number. This notebook
# makes one and goes through it in the order in which it should be read. Nothing in it needs the models again, so that
# it works as well on a directory that somebody sent you.

# %%
from pathlib import Path

import pandas as pd

import mechdecouple as md

comparison = md.compare(
    "zoo:demo-tidy",
    "zoo:demo-fractured",
    "zoo:demo-tidy",
    position="position_statement",
    families=("structure", "beliefs"),
    progress=False,
)
folder = comparison.save(Path("report"))
md.write_report(comparison, folder)
sorted(str(path.relative_to(folder)) for path in folder.glob("*"))

# %% [markdown]
# `report.html` is one self-contained page: open it in a browser, or send it on. From here on only the directory is
# used.

# %%
comparison = md.Comparison.load(folder)
comparison

# %% [markdown]
# ## 1. The gate: is there anything to explain?
#
# Two models of different accuracy differ inside as a matter of course. So the first sentence says whether they are
# equal within the margin that was declared. Equality is *shown*, by two one-sided tests: a difference that happens
# not to be significant is not equality.

# %%
print(comparison.gate.sentence)
print(comparison.gate.outcome)

# %%
md.plot(comparison, "gate")

# %% [markdown]
# ## 2. The verdicts
#
# One sentence a family. The mark before it: `!` a difference is claimed, `-` none is shown, `?` the data cannot
# tell. **Not shown is not equal**: a wide interval shows nothing either way. A difference is claimed where the
# interval of the paired difference lies beyond the metric's margin, after correction for the number of metrics.

# %%
print(comparison.summary())

# %%
pd.DataFrame([(v.family, v.subject, v.flagged) for v in comparison.verdicts], columns=["family", "subject", "flagged"])

# %% [markdown]
# ## 3. The figures
#
# The card has both models side by side on a page.

# %%
md.plot(comparison, "card")

# %% [markdown]
# Then the metrics that a verdict rests on, as differences in units of their margins. An interval outside the shaded
# band is a difference beyond the margin. Some of these are *left open* in the sentences above all the same: two runs
# of one recipe are known to differ as much in them, so that one pair cannot tell.

# %%
md.plot(comparison, "contrasts")

# %% [markdown]
# And layer by layer, with the level that chance or an unrelated code would reach.

# %%
md.plot(comparison, "structure")

# %% [markdown]
# ## 4. The numbers
#
# `metrics.parquet` has a row a measurement, which any tool reads. Each has its interval, how it was made (`method`),
# what it rests on (`n`, counted in `unit`), and its null. What is undefined is empty *with a reason*.

# %%
numbers = pd.read_parquet(folder / "metrics.parquet")
numbers[numbers.metric == "ccgp"].dropna(axis="columns", how="all").head(6)

# %%
undefined = numbers[numbers.value.isna()]
undefined[["metric", "model", "hook_point", "reason"]].head(4)

# %% [markdown]
# What a metric means, which way is tidier and what it is blind to: `mechdecouple metrics`, or the table in the
# README.
#
# ## 5. The items
#
# `items.parquet` has a row for each item and model: where do the two disagree, and what did each represent there?

# %%
items = pd.read_parquet(folder / "items.parquet")
items.head(4)

# %% [markdown]
# ## 6. What it does not say
#
# * One pair supports a statement about that pair. For a statement about how models are *made*, compare several runs
#   of each (`seeds_a`, `seeds_b`, or `md.compare_many`).
# * The notes say what could not be compared, and why.
# * Provenance holds versions, hashes of weights, every option and the seed: the same call gives the same numbers.

# %%
print(*comparison.notes or ["nothing was left out"], sep="\n")
print(*comparison.provenance, sep=", ")
