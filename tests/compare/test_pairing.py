import pytest
import torch
from torch import nn

from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.pairing import choose_points, comparability, pair, sites
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import wrap


def mlp(depth, name="mlp"):
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(depth)]
    return wrap(nn.Sequential(*layers, nn.Linear(4, 2)), name=name)


def test_models_of_equal_depth_are_paired_in_order():
    a, b = mlp(3), mlp(3)
    sites = pair(a, a.layer_points, b, b.layer_points)
    assert [(s.a, s.b) for s in sites] == list(zip(a.layer_points, b.layer_points, strict=True))


def test_models_of_unlike_depth_are_paired_by_relative_depth():
    a, b = mlp(2), mlp(8)
    sites = pair(a, a.layer_points, b, b.layer_points)
    assert [s.a for s in sites] == list(a.layer_points)
    for site in sites:
        gaps = [abs(a.depth(site.a) - b.depth(p)) for p in b.layer_points]
        assert abs(a.depth(site.a) - b.depth(site.b)) == min(gaps)
    back = pair(b, b.layer_points, a, a.layer_points)
    assert [s.a for s in back] != [s.a for s in sites]
    assert {s.b for s in back} <= set(b.layer_points) | set(a.layer_points)


def test_sites_of_an_alignment_are_as_deep_as_in_the_model_with_fewer():
    a, b = mlp(2), mlp(4)
    made = sites(a, a.layer_points, b, b.layer_points, [(0, 1), (2, 4)])
    assert [(s.a, s.b) for s in made] == [(a.layer_points[i], b.layer_points[j]) for i, j in ((0, 1), (2, 4))]
    assert [s.depth for s in made] == [a.depth(s.a) for s in made]
    back = sites(b, b.layer_points, a, a.layer_points, [(1, 0), (4, 2)])
    assert [(s.b, s.a, s.depth) for s in back] == [(s.a, s.b, s.depth) for s in made]


def test_deep_models_are_thinned_evenly_with_both_ends_kept():
    deep = mlp(30)
    points = choose_points(deep, None)
    assert len(points) == 13
    assert (points[0], points[-1]) == (deep.layer_points[0], deep.layer_points[-1])


def test_unknown_and_empty_hook_points_are_refused():
    with pytest.raises(ModelError, match="nowhere"):
        choose_points(mlp(2), ["nowhere"])
    with pytest.raises(InputError, match="hook_points is empty"):
        choose_points(mlp(2), [])


def test_text_against_tensors_is_refused():
    a, b = mlp(2), mlp(2)
    b.input_kind = "tokens"
    with pytest.raises(InputError, match="must see the same items"):
        comparability(a, b, CompareConfig())


def test_unlike_weight_processing_is_refused_and_unlike_depth_is_noted():
    a, b = mlp(2, "raw"), mlp(4, "folded")
    assert any("paired by relative depth" in note for note in comparability(a, b, CompareConfig()))
    b.processing = "fold_ln"
    with pytest.raises(InputError, match="'folded' has LayerNorm folded"):
        comparability(a, b, CompareConfig())
