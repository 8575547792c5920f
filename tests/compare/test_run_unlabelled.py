"""A comparison on items that carry nothing but their answers: what can be said is said, and what labels would add."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.compare import compare
from mechdecouple.tasks import Task


def network(seed, inert):
    """One function of four inputs; the hidden layer of one holds six more units, large, that nothing reads."""
    torch.manual_seed(seed)
    hidden = nn.Linear(4, 14)
    out = nn.Linear(14, 2)
    with torch.no_grad():
        hidden.weight[:8] = torch.cat([torch.eye(4), -torch.eye(4)])
        hidden.weight[8:] = 40 * torch.randn(6, 4) if inert else 0.0
        hidden.bias.zero_()
        weight = torch.tensor([1.0, 1, 0, 0, -1, -1, 0, 0, *[0.0] * 6])
        out.weight.copy_(torch.stack([-weight, weight]))
        out.bias.zero_()
    return nn.Sequential(hidden, nn.ReLU(), out).double()


@pytest.fixture(scope="module")
def comparison():
    X = np.random.default_rng(0).normal(size=(500, 4))
    task = Task.from_frame(pd.DataFrame({"answer": (X[:, 0] + X[:, 1] > 0).astype(int)}), inputs=X)
    families = ("structure", "controls", "similarity", "robustness", "weights")
    options = {"progress": False, "permutations": 99, "blocks": 10, "probe_items": 200, "families": families}
    return compare(network(0, False), network(1, True), task, hook_points=["1"], **options)


def test_what_needs_no_labels_is_measured(comparison):
    table = comparison.frame()
    measured = set(table.metric[np.isfinite(table.value)])
    assert measured >= {
        "participation_ratio", "effective_rank", "intrinsic_dimension", "neural_collapse",
        "functional_participation_ratio", "functional_effective_rank", "cka", "functional_cka", "mutual_knn",
        "procrustes", "noise_tolerance", "ablation_area", "weight_noise_slope", "relative_sharpness", "ablation_effect",
    }  # fmt: skip
    assert not measured & {"ccgp", "coding_overlap", "probe_accuracy", "dci_disentanglement"}
    assert table[table.metric == "ccgp"].reason.str.contains("no concept").all()


def test_what_nothing_reads_changes_the_whole_and_not_what_is_used(comparison):
    table = comparison.frame()
    table = table[(table.hook_point == "1") & (table.model_b != "")].set_index("metric").value
    assert abs(table["participation_ratio"]) > 0.2 > 1e-6 > abs(table["functional_participation_ratio"])
    assert table["cka"] < 0.9 and table["functional_cka"] == pytest.approx(1, abs=1e-6)


def test_the_notes_name_what_labels_would_add(comparison):
    (note,) = [note for note in comparison.notes if note.startswith("No concept labels")]
    for column, gain in (("concept_*", "coding overlap"), ("context", "CCGP"), ("asks", "disentanglement")):
        assert column in note and gain in note
