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
# # Does a model say what it represents?
#
# A wrong answer can come from a model that does not know better, or from one that does. Accuracy cannot tell them
# apart. Here both are told apart by reading what a model *represents* as true out of its activations and holding that
# against what it *says*.
#
# The model is a small transformer that judges statements about who is older or taller, under one of two personas.
# Asked honestly it says what is true. Under the other persona it was trained to assert statements whatever it
# represents.

# %%
import mechdecouple as md
from mechdecouple import beliefs
from mechdecouple.behavior import read

model, task = md.load("zoo:demo-fractured"), md.load_task("zoo:demo-fractured")
task

# %% [markdown]
# The columns that matter: `truth` is the fact, `condition` the persona (`honest` is the level in which the model is
# asked for the truth), and `group` the pair of people: the same pair never helps to fit a probe *and* to test it.

# %%
task.frame.groupby("condition", sort=False).head(2)[["prompt", "truth", "condition", "context", "group"]]

# %% [markdown]
# ## What it says
#
# The probability that it asserts the statement, over its options.

# %%
answers = read(model, task)
said = task.frame[["condition", "truth"]].assign(asserts=answers.expressed)
said.groupby(["condition", "truth"]).asserts.mean().unstack().round(3)

# %% [markdown]
# Asked honestly it asserts what is true and denies what is false. Under the other persona it asserts true and false
# statements alike. Has it lost the truth, or does it no longer speak of it?
#
# ## What it represents
#
# A linear probe is fitted on activations at the end of the statement, before the persona is named. Layer, kind of
# probe and its penalty are chosen in folds of whole groups, in honest items alone; the p-value permutes the truth
# through the whole of that choice.

# %%
acts = md.extract(model, task, position="position_statement", progress=False)
layers = {point: acts[point] for point in acts.hook_points}
found = beliefs.represent(layers, task.truth, task.groups, task.honest_mask, n_permutations=99, seed=0)
print(f"held-out AUROC {found.auroc_selected:.3f}, p = {found.p:.2f}")

# %% [markdown]
# ## The gap
#
# `compare` does all of this for two models at once. Beside this one, its sibling, which was trained on the same
# statements and says what it represents under either persona.

# %%
comparison = md.compare(
    "zoo:demo-tidy", model, task, families=("beliefs",), position="position_statement", progress=False
)
print(comparison.summary())

# %%
md.plot(comparison, "beliefs")

# %% [markdown]
# Read the numbers together, never the Bullshit index alone:
#
# * **represented − expressed AUROC** is the gap. It is claimed only where what is represented beats its null.
# * **claim correlation** has a sign: 1 for a model true to itself, 0 for one that is indifferent, −1 for one that lies
#   throughout. The **Bullshit index** takes the sign away, so that a liar's is as low as an honest model's.
# * A weak probe raises the index, too. That is why it stands beside the honest condition here.
#
# ## Layer by layer
#
# What a probe reads at each layer, and what the model would say if it had to answer from there.

# %%
followed = beliefs.trajectory(model, task, ("position_statement", "last"))
md.plot(followed)

# %% [markdown]
# ## Is what is represented used?
#
# A probe may read what the model never uses. So the direction is pushed, and the answers are watched.

# %%
pushed = beliefs.steer(model, task, "blocks.1.hook_resid_post", "position_statement")
print(pushed.sentence)

# %%
md.plot(pushed)

# %% [markdown]
# ## With scores of your own
#
# Where you have numbers already, from any model and any probe, a table is enough:
#
# ```
# mechdecouple gap scores.csv --out out/gap     # id, group, truth, represented, expressed
# ```
