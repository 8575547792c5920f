import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import MismatchError
from mechdecouple.models import wrap
from mechdecouple.results import frame
from mechdecouple.structure.mechanism.component import Component, combined
from mechdecouple.structure.mechanism.profile import causal_profile
from mechdecouple.structure.mechanism.profile_distance import like_parts, match_effects, profile_distance
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task


class Two(nn.Module):
    """Logits: what the left part says in some units, what the right part says in others."""

    def __init__(self, left, right, order=range(4)):
        super().__init__()
        order = list(order)
        rng = np.random.default_rng(0)
        weight = torch.as_tensor(rng.normal(size=(4, 3)) * np.array([[4.0], [2.0], [1.0], [0.5]]), dtype=torch.float32)
        self.left, self.right = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.shares = (left, right)
        self.weight = weight[order]
        with torch.no_grad():
            for module in (self.left, self.right):
                module.weight.copy_(torch.eye(4)[order])

    def forward(self, x):
        left, right = self.shares
        return (left * self.left(x) + right * self.right(x)) @ self.weight


def task(n=60, groups=None):
    inputs = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    items = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % 3})
    if groups is not None:
        items["group"] = groups
    return Task.from_frame(items, name="two", performance="class", inputs=inputs)


def profile(left, right, name="net", parts=None, **options):
    rig = Rig(wrap(Two(left, right, **options), name=name), task())
    return causal_profile(rig, parts, limit=60)


def test_a_model_has_no_distance_from_itself():
    found = profile_distance(profile(1.0, 0.5), profile(1.0, 0.5))
    assert found.largest.value == found.mean.value == 0 and found.matching.agreement.value == pytest.approx(1)
    np.testing.assert_allclose(found.matching.correlation, 1)
    assert found.matching.p == pytest.approx(1 / 1000) and found.p.tolist() == [1, 1] and len(found.like) == 2


def test_opposite_routes_are_as_far_apart_as_can_be():
    a, b = profile(1.0, 0.0, "left"), profile(0.0, 1.0, "right")
    found = profile_distance(a, b)
    assert [(x.name, y.name) for x, y in found.like] == [("left", "left"), ("right", "right")]
    share = a.share.value[0, 2]
    np.testing.assert_allclose(found.difference.value, [share, -share])
    assert found.largest.value == found.mean.value == pytest.approx(share) and share > 0.9
    assert (found.p < 0.001).all()
    # The parts that matter say the same, wherever they are.
    assert found.matching.pairs == (("left", "right"),) and found.matching.agreement.value == pytest.approx(1)
    rows = frame(found.measurements())
    assert rows.model_b.eq("right").all() and set(rows.metric) == {
        "largest_share_difference", "mean_share_difference", "effect_agreement"
    }  # fmt: skip
    assert found.frame().difference.abs().is_monotonic_decreasing and "left" in found._repr_html_()


def test_an_equal_shift_of_all_shares_is_the_mean():
    """Between (1, 0.5) and (0.5, 1) both parts differ by the same, up to which items were drawn."""
    found = profile_distance(profile(1.0, 0.5), profile(0.5, 1.0), ablation="mean")
    np.testing.assert_allclose(found.difference.value[0], -found.difference.value[1])
    assert found.mean.value == pytest.approx(found.largest.value)


def test_permuted_units_are_matched_to_themselves():
    units = [Component(f"u{i}", "units", "left", 0.0, index=(i,)) for i in range(4)]
    order = [2, 0, 3, 1]
    found = profile_distance(profile(1.0, 0.0, "a", units), profile(1.0, 0.0, "b", units, order=order), ablation="mean")
    assert not found.like and found.largest is None
    assert dict(found.matching.pairs) == {f"u{j}": f"u{i}" for i, j in enumerate(order)}
    assert found.matching.agreement.value == pytest.approx(1)
    rows = frame(found.measurements())
    assert rows.reason[:2].str.contains("no parts of like role").all() and found.frame().empty
    assert found.matching.frame().correlation.min() > 0.999


def test_the_scale_of_the_logits_does_not_count_in_the_matching():
    a, b = profile(1.0, 0.5), profile(10.0, 5.0)
    assert profile_distance(a, b).matching.agreement.value == pytest.approx(1)


def test_unrelated_effects_agree_as_much_as_permuted_ones():
    p = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 3, 80))
        names = np.array(["x", "y", "z"])
        p.append(match_effects(a, b, np.arange(80) // 2, names, names, permutations=49).p)
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) < 0.1) < 0.25


def test_items_of_a_group_change_places_together():
    """Two copies of each item would make chance agreement look certain if they went apart."""
    p = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a, b = np.repeat(rng.normal(size=(2, 2, 10)), 8, axis=2)
        names = np.array(["x", "y"])
        p.append(match_effects(a, b, np.repeat(np.arange(10), 8), names, names, permutations=49).p)
    assert np.mean(np.array(p) < 0.05) < 0.2


def test_no_effect_no_matching():
    names = np.array(["x"])
    assert match_effects(np.zeros((1, 9)), np.ones((1, 9)), np.arange(9), names, names) is None


def test_models_of_other_depth_are_alike_in_the_whole_alone():
    def stack(n):
        layers = [Component(f"L{i} patterns", "pattern", f"p{i}", i / n) for i in range(n)]
        mlps = [Component(f"L{i} MLP", "mlp", f"m{i}", (i + 0.5) / n) for i in range(n)]
        whole = [combined("all patterns", "pattern", layers)] if n > 1 else []
        tokens = [Component(f"token {p}", "input", "e", 0.0, -2, (p,)) for p in (0, 1)]
        heads = [Component("L0H0", "head", "z", 0.0, -2, (0,))]
        return [*tokens, *layers, *mlps, *whole, *heads]

    def bare(parts):
        return dataclasses.replace(one, components=tuple(parts))

    one = profile(1.0, 0.5)
    two, three = bare(stack(2)), bare(stack(3))
    named = [(two.names[i], three.names[j]) for i, j in like_parts(two, three)]
    assert named == [("token 0", "token 0"), ("token 1", "token 1"), ("all patterns", "all patterns")]
    single = bare(stack(1))
    named = [(two.names[i], single.names[j]) for i, j in like_parts(two, single)]
    assert ("all patterns", "L0 patterns") in named and not any("MLP" in n for n, _ in named)
    assert len(like_parts(two, two)) == 2 + 2 + 2


def test_parts_that_were_only_attributed_are_left_out():
    rig = Rig(wrap(Two(1.0, 0.5), name="net"), task())
    some = causal_profile(rig, limit=60, ablations=["resample"], budget=60 * 5)
    whole = causal_profile(rig, limit=60, ablations=["resample"])
    assert some.exact.all()
    some = causal_profile(rig, limit=60, ablations=["mean", "resample"], budget=60 * 6)
    whole = causal_profile(rig, limit=60, ablations=["mean", "resample"])
    some = dataclasses.replace(some, effect=np.where(np.arange(2)[:, None, None] == 1, np.nan, some.effect))
    assert [x.name for x, _ in profile_distance(some, whole).like] == ["left"]


def test_profiles_of_other_items_are_refused():
    rig = Rig(wrap(Two(1.0, 0.5), name="net"), task())
    with pytest.raises(MismatchError, match="different items"):
        profile_distance(causal_profile(rig, limit=20), causal_profile(rig, limit=30))
    with pytest.raises(MismatchError, match="different items"):
        profile_distance(causal_profile(rig, limit=20), causal_profile(rig, limit=20, seed=1))
