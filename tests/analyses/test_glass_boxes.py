import dataclasses

import pandas as pd
import pytest

from analyses import glass_boxes as study
from analyses._arms import Arms
from analyses._glass_boxes import readers


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)

    frame = pd.DataFrame({"metric": ["ccgp"], "arm": ["a"], "value": [0.9]})


def planted(**changed):
    """A table in which sparse transformers are as the finding has them, but for the changes named."""
    rows = []
    for seed in range(3):
        for name in (*study.BOXES, *study.READERS):
            row = {
                "model": name, "kind": name.split()[0], "seed": seed, "size": 10, "test_accuracy": 0.7,
                "test_simulatability": 0.6, "test_by_tree": 0.6, "circuit_edges": 10_000, "circuit_nodes": 100,
                "pruned": 50, "test_at_80": 0.8, "test_excess_aurc": 0.1, "recoverable": 0.0,
            }  # fmt: skip
            if name == study.DENSE:
                row |= {"size": 40_000, "test_accuracy": 0.8}
            if name == study.SPARSE:
                row |= {"size": 5000, "test_accuracy": 0.8, "circuit_edges": 1000} | changed.get("sparse", {})
            if name == study.PLANTED:
                row |= {"test_simulatability": 1.0, "test_by_tree": 1.0} | changed.get("planted", {})
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, ""),
        ({"sparse": {"circuit_edges": 3000}}, "circuit's edges"),
        ({"sparse": {"test_simulatability": 0.57}}, "simulatability, sparse less dense"),
        ({"planted": {"test_by_tree": 0.9}}, "simulatability of tree 4"),
        ({"planted": {"test_accuracy": 0.9}}, "most accurate and most simulatable"),
    ],
)  # fmt: skip
def test_each_criterion_is_met_and_can_be_missed(changed, missed):
    found = study.criteria(planted(**changed), Equal(()))
    assert len(found) == 5
    assert [c.name for c in found if not c.met] == [c.name for c in found if missed and c.name.startswith(missed)]
    assert sum(not c.met for c in found) == bool(missed)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    short = {name: dataclasses.replace(study.READERS[name], steps=2, batch_size=8, width=16)
             for name in (study.SPARSE, study.DENSE)}  # fmt: skip
    monkeypatch.setattr(study, "READERS", short)
    monkeypatch.setattr(study, "BOXES", {name: study.BOXES[name] for name in ("logistic 3", "pairs 8", "tree 4")})
    monkeypatch.setattr(study, "ITEMS", 120)
    monkeypatch.setattr(study, "FITTED", 80)
    monkeypatch.setattr(study, "CIRCUIT_ITEMS", 16)
    monkeypatch.setattr(study, "DRAWS", 20)
    monkeypatch.setattr(study, "STRUCTURE", ())
    monkeypatch.setattr(study, "train_all", lambda wanted, progress: None)
    monkeypatch.setattr(readers, "TRAINED", 300)
    monkeypatch.setattr("analyses._study.save_for_venues", lambda figure, name, directory: None)
    cached = (study.parts, study.everything, study.splits, study.judged_task, readers.training_plants)
    for one in cached:
        one.cache_clear()
    yield
    for one in cached:
        one.cache_clear()


def test_a_small_study_writes_its_files(tiny, tmp_path):
    result = study.run(seeds=1, progress=False)
    result.write(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_file()} == {
        "models.parquet", "frontier.parquet", "compared.parquet", "gates.parquet", "glass_boxes.pdf",
        "glass_boxes.png", "glass_boxes_sizes.pdf", "glass_boxes_sizes.png", "result.json", "provenance.json",
    }  # fmt: skip
    table, both = result.tables["models"], result.tables["frontier"]
    assert len(table) == 5
    assert len(both) == 10
    assert both["on_frontier"].between(0, 1).all()
    assert (both["accuracy_low"] <= both["accuracy"] + 1e-9).all()
    means = table.groupby("model")["test_simulatability"].mean()
    ours = study.where(both, split="test").set_index("model")["simulatability"]
    assert ours.to_dict() == pytest.approx(means.to_dict(), nan_ok=True, abs=1e-9)
    assert len(result.criteria) == 5
