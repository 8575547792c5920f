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
# # Two models score the same. Are they the same inside?
#
# Both models below judge statements such as the ones shown, under a persona. Asked honestly, they are equally
# accurate. One holds the truth of a statement in the same way whatever the topic, and says it under any persona. The
# other holds it in a way of its own for each topic, and under its second persona asserts statements whatever it
# represents.

# %%
import mechdecouple as md
from mechdecouple import zoo

pair = zoo.demo()
a, b = md.load(pair.a), md.load(pair.b)
task = md.load_task(pair.task)
task

# %% [markdown]
# ## What is inside
#
# Activations are read at hook points, here at the end of the statement, in all layers at once.

# %%
acts = md.extract(a, task, position=pair.options["position"], progress=False)
acts

# %%
acts[a.layer_points[-1]].shape

# %% [markdown]
# ## The comparison
#
# The first question is whether the two are equally accurate; only then is a difference inside worth a sentence. Every
# number has its interval, its null and its limits.

# %%
comparison = md.compare(a, b, task, progress=False, **pair.options)
comparison

# %%
print(comparison.summary())

# %% [markdown]
# ## Where they differ
#
# All measurements are one tidy table.

# %%
table = comparison.frame()
table.query("metric == 'ccgp'")[["model", "hook_point", "concept", "value", "low", "high", "n"]]

# %%
md.plot(comparison, "structure")

# %% [markdown]
# What each represents against what it says:

# %%
md.plot(comparison, "beliefs")
