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
# # Features: which do two models share?
#
# A sparse autoencoder writes a model's activations as sums of a few *latents* out of many. If it is any good, its
# latents are a vocabulary in which two models can be compared. This notebook trains small ones, asks whether they
# deserve the word *features*, and matches them: first to a second autoencoder of the same model, for two of these
# never agree entirely, and then to the other model's.

# %%
import mechdecouple as md
from mechdecouple import sae

task = md.load_task("zoo:demo-tidy")
tidy, fractured = md.load("zoo:demo-tidy"), md.load("zoo:demo-fractured")
POINT = "blocks.1.hook_resid_post"
task

# %% [markdown]
# ## Train
#
# Activations at the end of every statement. Whole groups (pairs of people) are kept from training, so that what is
# said of the autoencoders rests on statements that they never saw.

# %%
rows = {
    model.name: md.extract(model, task, hook_points=[POINT], position="position_statement", progress=False)
    for model in (tidy, fractured)
}
held = sae.holdout(task.groups)
recipes = [sae.Recipe("topk", width=64, k=8, hook_point=POINT, seed=seed) for seed in (0, 1)]
trained = {name: sae.train_many(acts.select(~held), recipes, steps=1000, progress=False) for name, acts in rows.items()}
md.plot(trained["demo-tidy"][0])

# %% [markdown]
# ## Are they good enough to speak of?
#
# How much of the variance they explain and how many latents fire a row; and what is left of the model's loss and
# accuracy with reconstructions in place of its activations. `judge` names the shortcomings, or nothing.

# %%
evaluated, inside = {}, {}
for model in (tidy, fractured):
    one = trained[model.name][0]
    evaluated[model.name] = sae.evaluate(one, rows[model.name].select(held), groups=task.groups[held])
    inside[model.name] = sae.spliced(one, model, task)
    judged = sae.judge(evaluated[model.name], inside[model.name])
    print(f"{model.name}: {judged.shortcomings or 'good enough'}")

# %%
md.plot(evaluated["demo-tidy"])

# %%
md.plot(inside["demo-tidy"])

# %% [markdown]
# ## Do single latents hold the declared concepts?
#
# A concept is read from the few latents that differ most by it, beside a dense probe of the activations themselves.
# One latent that does as well as the probe stands for the concept.

# %%
codes = {name: [one.encode(rows[name][POINT]) for one in own] for name, own in trained.items()}
probing = sae.sparse_probing(codes["demo-tidy"][0], task.concepts, task.groups, X=rows["demo-tidy"][POINT])
md.plot(probing)

# %% [markdown]
# ## Which are shared?
#
# Latents are paired one to one by their activations on the same statements. Two runs on *one* model come first: what
# they do not share, training has found by chance.

# %%
again = sae.match(*codes["demo-tidy"], groups=task.groups)
across = sae.match(codes["demo-tidy"][0], codes["demo-fractured"][0], groups=task.groups)
for label, matched in (("two runs on demo-tidy", again), ("demo-tidy and demo-fractured", across)):
    print(f"{label}: {matched.share.value:.2f} [{matched.share.low:.2f}, {matched.share.high:.2f}] shared")

# %%
md.plot(across)

# %% [markdown]
# The second share means something only beside the first: a model that shared as much with another as with itself
# would hold the same features as far as these autoencoders can tell. Where two runs on one model share little
# themselves, as small ones like these do, say little of single latents: the difference of the two shares is what
# remains, and `sae.matched_share_excess` gives it with its interval.
#
# `md.compare(..., families=("sae",))` does all of this with two seeds a model, adds what each latent does to the
# answers and whether it carries the truth or the claim, and writes `features.html`, in which every latent can be
# searched for and looked at.
