import numpy as np
import pytest
import torch
from torch import nn

import mechdecouple as md
from mechdecouple.compare.neurons import cluster_measurements
from mechdecouple.models import load_pretrained


def chain(*matrices):
    layers = []
    for matrix in matrices:
        layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(matrix, dtype=torch.float32))
        layers += [layer, nn.ReLU()]
    return md.load(nn.Sequential(*layers))


def test_separate_parts_cluster_and_unstructured_weights_do_not():
    rng = np.random.default_rng(0)
    apart = [np.kron(np.eye(4), rng.normal(size=(6, 6))) for _ in range(2)]
    mixed = [rng.normal(size=(24, 24)) for _ in range(2)]
    (clustered,), (other,) = (cluster_measurements(chain(*layers), 0) for layers in (apart, mixed))
    assert clustered.context == "0 to 2" and clustered.metric == "clusterability"
    assert clustered.estimate.value < -4 and clustered.estimate.p == pytest.approx(0.05)
    assert abs(other.estimate.value) < 3


def test_transformers_are_cut_at_the_hidden_layers_of_their_mlps(gpt2_dir):
    found = {m.context: m.estimate for m in cluster_measurements(load_pretrained(gpt2_dir), 0)}
    assert set(found) == {"blocks.0.mlp", "blocks.1.mlp"} and all(np.isfinite(e.value) for e in found.values())
    hooked = cluster_measurements(md.load("zoo:demo-tidy"), 0)
    assert [m.context for m in hooked] == [f"blocks.{i}.mlp" for i in range(3)]


def test_what_cannot_be_cut_says_why():
    (nothing,) = cluster_measurements(chain(np.ones((3, 5))), 0)
    assert "no two matrices" in nothing.estimate.reason
    (large,) = cluster_measurements(chain(np.ones((800, 700)), np.ones((4, 800))), 0)
    assert "500,000" in large.estimate.reason
