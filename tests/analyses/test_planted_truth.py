"""The study in small: its right answers are right, its criteria can fail, and its files are written."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from analyses import planted_truth
from analyses._planted.closed_forms import FORMS, closed_form_criteria, graded_cka, shared
from analyses._planted.doses import DOSES, Dose, dose_criteria, rank_correlation, sweep
from analyses._planted.figures import draw_doses, draw_table
from analyses._planted.measures import MEASURES, Measure, Place
from analyses._planted.pairs import JUDGED, compare_pairs, most_allowed, pair_criteria
from analyses._planted.population import population
from analyses._planted.table import DECLARED, MODELS, TABLE, measure_table, place, table_criteria
from analyses._planted.trained import ARMS, EXPECTED, trained_criteria
from analyses.planted_truth import run
from mechdecouple.zoo.planted import PLANS
from mechdecouple.zoo.planting import Plan, encode, plant

BY_NAME = {dose.name: dose for dose in DOSES}


def broken(metric, of):
    return {**MEASURES, metric: Measure(MEASURES[metric].metric, of)}


def unmet(criteria):
    return [c.name for c in criteria if not c.met]


# The right answers, computed by another way.


@pytest.mark.parametrize(("plan", "metric", "expected"), [
    (Plan(fracture=1.0, noise=0.0), "additive_share", 1 / 8),
    (Plan(fracture=1.0, noise=0.0), "coding_energy_left", 7 / 8),
    (Plan(fracture=0.4, noise=0.0), "parallelism", 0.6),
    (Plan(conjunctive=True), "additive_share", 6 / 63),
    (Plan(conjunctive=True), "parallelism_concepts", 0.0),
    (Plan(cosine=0.7), "coding_overlap", 0.7),
    (Plan(copies=4), "dci_completeness", 1 - np.log(4) / np.log(128)),
    (Plan(), "participation_ratio", (6 + 1.22) ** 2 / (6 + 0.0122)),
    (Plan(inert=40), "participation_ratio", (6 + 160 + 0.82) ** 2 / (6 + 640 + 0.0082)),
    (Plan(fracture=1.0), "cka", 0.75 / np.sqrt((6 + 122e-4) * (0.75 + 80e-4))),
    (Plan(), "noise_tolerance", 1 / 1.2815515655446004 * np.sqrt(128 / 6)),
])  # fmt: skip
def test_population_values(plan, metric, expected):
    assert population(plan)[metric] == pytest.approx(expected, abs=2e-3 if metric == "dci_completeness" else 1e-9)


def test_population_effects_are_those_of_a_large_sample():
    plan = Plan(n_factors=3, n_contexts=4, dims=20, cosine=0.4, rotation=1)
    X = plant(plan, 200_000).X
    effect = np.abs(X - X.mean(axis=0)).mean(axis=0)[:, None] * np.abs(encode(plan).readout)
    share = effect / effect.sum(axis=1, keepdims=True)
    by_unit = 1 + (share * np.log(share)).sum(axis=1) / np.log(3)
    expected = np.average(by_unit, weights=effect.sum(axis=1))
    assert population(plan)["dci_disentanglement"] == pytest.approx(expected, abs=2e-3)


def test_formulas_of_graded_fracture_end_where_they_must():
    assert (shared(0.0), shared(1.0)) == (1.0, 1 / 8)
    assert graded_cka(0.0) == pytest.approx(1.0)
    assert graded_cka(1.0) == pytest.approx(1 / np.sqrt(8))


def test_formulas_and_population_agree():
    """Two derivations: by hand on paper, and from the code's points."""
    for name, (plan, forms) in FORMS.items():
        right = population(dataclasses.replace(plan, noise=0.0)) | {"functional_cka": 1.0}
        right["cka_plain"] = right["cka"] / np.sqrt(1 / (1 + 122e-4 / 6))  # the reference has its noise there
        for metric in set(forms) & set(right) - {"procrustes"}:
            if metric == "functional_cka" and plan.cosine:
                continue
            assert right[metric] == pytest.approx(forms[metric], abs=1e-9), (name, metric)


# The metrics meet them, and wrong metrics do not.


def test_closed_forms_are_met_and_a_wrong_metric_misses_its_own():
    right = []

    def off(p):
        right.append(float(MEASURES["parallelism"].of(p)))
        return 0.01 + right[-1]

    criteria = closed_form_criteria(broken("parallelism", off))
    own = [c for c in criteria if "Parallelism score" in c.name]
    assert unmet(criteria) == [c.name for c in own]
    assert len(own) == sum("parallelism" in forms for _, forms in FORMS.values())
    np.testing.assert_allclose(right, [c.expected for c in own], atol=1e-6)


def test_declared_numbers_are_complete():
    assert set(DECLARED) <= set(TABLE)
    assert all(len(text.split()) == len(MODELS) for text in DECLARED.values())
    assert list(MODELS) == list(PLANS)


@pytest.fixture(scope="module")
def population_table():
    """The table as it would be with items without end: every metric at its population value."""
    right = {name: population(plan) for name, plan in PLANS.items()}
    plain = dict(zip(MODELS, map(float, DECLARED["cka_plain"].split()), strict=True))
    rows = []
    for name, values in right.items():
        values = values | {
            "probe_accuracy": 1.0, "ccgp": 0.5 if "fractured" in name else 1.0, "cka_plain": plain[name],
            "ccgp_concepts": 0.5 if "one-hot" in name else 1.0,
            "erasure_residual": 0.996 if "fractured" in name else 0.5,
        }  # fmt: skip
        for metric in DECLARED:
            for seed, sign in enumerate(np.linspace(-1, 1, 6)):
                turned = "rotated" in name and metric.startswith("dci")  # each seed has a rotation of its own
                scatter = 1 + (0.03 if turned else 0.003) * sign
                rows.append((name, seed, metric, scatter * values[metric], right[name].get(metric, np.nan), 8192))
    return pd.DataFrame(rows, columns=["model", "seed", "metric", "value", "population", "n"])


def test_the_population_meets_the_table(population_table):
    assert unmet(table_criteria(population_table)) == []


@pytest.mark.parametrize(("metric", "model", "factor"), [
    ("participation_ratio", "planted-inert", 0.9), ("parallelism", "planted-rotated", 0.95),
    ("additive_share", "planted-fractured", 1.2), ("cka_plain", "planted-inert", 1.5),
    ("noise_tolerance_total", "planted-factored", 0.9), ("dci_completeness", "planted-duplicated", 1.05),
    ("erasure_residual", "planted-fractured", 0.9), ("ccgp", "planted-fractured", 1.1),
])  # fmt: skip
def test_a_wrong_number_is_caught(population_table, metric, model, factor):
    table = population_table.copy()
    table.loc[(table["metric"] == metric) & (table["model"] == model), "value"] *= factor
    missed = unmet(table_criteria(table))
    assert missed
    assert all(name.startswith(f"{MODELS[model]}: {MEASURES[metric].metric.title}") for name in missed)


def test_undefined_values_meet_nothing(population_table):
    table = population_table.copy()
    table.loc[table["metric"] == "ccgp", "value"] = np.nan
    assert len(unmet(table_criteria(table))) == len(MODELS)


def test_the_measured_table_has_a_row_for_every_model_metric_and_seed():
    cheap = {name: Measure(m.metric, lambda p: len(p.X)) for name, m in MEASURES.items()}
    ticks = []
    table = measure_table([3, 4], 128, cheap, lambda: ticks.append(1))
    assert len(table) == 2 * len(MODELS) * len(TABLE)
    assert len(ticks) == 2 * len(MODELS)
    assert (table["value"] == 128).all()
    rotated = table[(table["model"] == "planted-rotated") & (table["metric"] == "dci_completeness")]
    assert rotated["population"].nunique() == 2, "each seed has a rotation, and a right answer, of its own"


# Doses.


def small(dose, metrics, levels=None):
    keep = {side: tuple(m for m in getattr(dose, side) if m in metrics) for side in ("up", "down", "stays")}
    return dataclasses.replace(dose, levels=levels or dose.levels, **keep)


@pytest.mark.parametrize(("name", "metrics"), [
    ("obliqueness", ("coding_overlap", "participation_ratio", "ccgp", "additive_share")),
    ("copies", ("dci_completeness", "cka", "coding_overlap")),
    ("fracture", ("parallelism", "additive_share", "cka", "functional_cka", "dci_disentanglement")),
    ("noisy fracture", ("ccgp", "coding_energy_left", "probe_accuracy")),
    ("inert dimensions", ("cka", "noise_tolerance_total", "noise_tolerance", "functional_cka")),
    ("superposition", ("superposition_dimensionality", "probe_accuracy")),
])  # fmt: skip
def test_doses_are_followed_in_small(name, metrics):
    dose = small(BY_NAME[name], metrics, levels=BY_NAME[name].levels[::2])
    assert unmet(dose_criteria(dose, sweep(dose, range(2), 1024))) == []


def test_metrics_that_fail_a_dose_are_caught():
    dose = small(BY_NAME["copies"], ("dci_completeness", "coding_overlap"), levels=(1, 2, 4))
    deaf = sweep(dose, range(2), 128, broken("dci_completeness", lambda p: 0.7))
    assert unmet(dose_criteria(dose, deaf)) == ["copies: DCI completeness falls"]
    stirred = sweep(dose, range(2), 512, broken("coding_overlap", lambda p: 1e-3 * np.count_nonzero(p.readout)))
    assert unmet(dose_criteria(dose, stirred)) == []
    stirred = sweep(dose, range(2), 512, broken("coding_overlap", lambda p: 0.01 * np.count_nonzero(p.readout)))
    assert unmet(dose_criteria(dose, stirred)) == ["copies: Coding-direction overlap stays"]
    undefined = sweep(dose, range(2), 128, broken("dci_completeness", lambda p: np.nan))
    assert "copies: DCI completeness falls" in unmet(dose_criteria(dose, undefined))


def test_every_dose_is_declared_well():
    for dose in DOSES:
        assert len(dose.levels) >= 6
        assert list(dose.levels) == sorted(dose.levels)
        assert len(set(dose.metrics)) == len(dose.metrics), "a metric moves or stays"
        assert set(dose.metrics) <= set(MEASURES)


def test_rank_correlation_of_what_does_not_move_is_no_correlation():
    assert rank_correlation(np.arange(4.0), np.ones(4)) == 0.0
    assert np.isnan(rank_correlation(np.arange(3.0), np.array([1, np.nan, 2])))
    assert rank_correlation(np.arange(4.0), np.array([4.0, 3, 2, 1])) == pytest.approx(-1)


# Pairs.


def test_equal_models_rarely_differ_and_unequal_ones_are_counted():
    pairs = compare_pairs(2, judged={name: JUDGED[name] for name in ("ccgp", "participation_ratio")})
    assert set(pairs.groupby("metric").size()) == {2}
    assert (pairs["flagged"] <= pairs["differs"]).all()
    eager = pairs.assign(differs=True)
    assert all(not c.met for c in pair_criteria(eager))
    assert all(c.met for c in pair_criteria(pairs.assign(differs=False)))


def test_allowance_is_the_binomial_one():
    assert most_allowed(100) == 11
    assert 60 <= most_allowed(1000) <= 70


# Trained networks.


def test_the_seed_furthest_off_decides():
    rows = [(arm, seed, metric, e.value) for arm, f in EXPECTED.items() for metric, e in f.items() for seed in (0, 1)]
    trained = pd.DataFrame(rows, columns=["arm", "seed", "metric", "value"])
    assert unmet(trained_criteria(trained)) == []
    trained.loc[(trained["metric"] == "ccgp") & (trained["seed"] == 1), "value"] = 0.8
    assert unmet(trained_criteria(trained)) == [f"{arm}: CCGP over contexts" for arm in ARMS]


# Places, figures, the whole.


def test_a_place_projects_on_what_is_read():
    here = place(Plan(inert=40), 200, 0)
    assert here.used.shape == (200, 6)
    np.testing.assert_allclose(np.abs(here.used @ (here.used.T @ here.X @ here.readout)).max() > 0, True)
    sample = plant(Plan(inert=40), 200, noise_seed=1)
    np.testing.assert_allclose(np.linalg.norm(here.used, axis=1), np.linalg.norm(sample.X[:, :6], axis=1), atol=1e-9)


def test_drawn_noise_reaches_the_logits_as_noise_on_the_activations_does():
    here = place(Plan(cosine=0.5), 4096, 0)
    right = population(Plan(cosine=0.5))
    assert here.tolerance(float(np.sqrt(np.trace(np.cov(here.X.T))))) == pytest.approx(
        right["noise_tolerance_total"], rel=0.03
    )


def test_figures_say_what_was_measured(population_table):
    trained = pd.DataFrame([(arm, 0, "ccgp", 1.0) for arm in ARMS], columns=["arm", "seed", "metric", "value"])
    figure = draw_table(population_table, trained, table_criteria(population_table), [])
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert texts.count("✓") == len(MODELS) * (len(DECLARED) - 1)  # the plain CKA has no row
    assert "43" in texts
    dose = Dose(
        name="copies", title="copies", levels=(1, 2, 4), place=lambda *_: Place(np.eye(2), np.eye(2)),
        down=("dci_completeness", "cka"), stays=("ccgp",),
    )  # fmt: skip
    rows = [("copies", m, s, k, 1 - m / 9, np.nan) for m in (1, 2, 4) for s in (0, 1) for k in dose.metrics]
    table = pd.DataFrame(rows, columns=["dose", "level", "seed", "metric", "value", "population"])
    figure = draw_doses([dose], table)
    names = {t.get_text(): t.xyann[1] for t in figure.axes[0].texts}
    assert abs(names["completeness"] - names["CKA"]) > 0.08, "names of curves that end together are moved apart"


def test_the_whole_study_with_metrics_that_see_nothing(tmp_path, monkeypatch, capsys):
    dose = small(BY_NAME["copies"], ("dci_completeness", "coding_overlap"), levels=(1, 2, 4))
    tiny = planted_truth.Size(table_seeds=2, table_items=64, dose_seeds=2, dose_items=64, pairs=1, doses=(dose,))
    blind = {name: Measure(m.metric, lambda p: 1.0) for name, m in MEASURES.items()}
    monkeypatch.setattr(planted_truth, "run", lambda size: run(tiny, measures=blind, progress=False))
    planted_truth.main(["--out", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {"value", "expected", "tolerance", "met"} <= set(result["criteria"][0])
    assert result["met"] == sum(c["met"] for c in result["criteria"])
    assert result["verdict"] != "reproduced"
    assert [c["met"] for c in result["criteria"] if c["group"] == "doses"] == [False, True]
    assert len(pd.read_parquet(tmp_path / "out" / "doses.parquet")) == 12
    for name in ("table", "doses"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 10_000
        assert (tmp_path / "out" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    printed = capsys.readouterr().out
    assert printed.startswith(planted_truth.CLAIM)
    assert "not met: doses: copies: DCI completeness falls" in printed


@pytest.mark.slow
def test_the_quick_form_is_reproduced():
    result = run(planted_truth.QUICK, progress=False)
    assert unmet(result.criteria) == []
    assert result.verdict == "reproduced"
