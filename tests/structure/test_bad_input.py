"""Bad input to every public measure: one line that names the value, a NaN that is explained, or a right number.

Each measure is called on tables that are too short, too flat, doubled, mislabelled or not finite. Warnings are errors.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mechdecouple import structure as st
from mechdecouple.errors import InputError
from mechdecouple.probes import description_length, selectivity
from mechdecouple.stats import jackknife, jackknife_blocks

INF = math.inf
NOISY = 0.35


@dataclasses.dataclass
class Table:
    """X [n, d]; Y [n, 2] concepts; context, groups, asks, labels [n]."""

    X: np.ndarray
    Y: np.ndarray
    context: np.ndarray
    groups: np.ndarray
    asks: np.ndarray
    labels: np.ndarray

    @property
    def y(self):
        return self.Y[:, 0]

    @property
    def other(self):
        """A second representation of the same items, no linear map of the first; twice as large where that is."""
        return np.ascontiguousarray(np.abs(self.X)[:, ::-1])

    def but(self, **parts):
        return dataclasses.replace(self, **parts)

    def rows(self, index):
        return Table(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))


def table(n, d=6, seed=0, dtype=np.float64):
    """Two concepts and their combinations in two contexts, all on directions of their own, with noise."""
    rng = np.random.default_rng(seed)
    Y = np.column_stack([np.arange(n) % 2, np.arange(n) // 2 % 2]).astype(float)
    context, labels = np.arange(n) // 4 % 2, np.arange(n) // 2 % 3
    X = rng.normal(size=(n, d))
    X[:, 0] += 3 * Y[:, 0]
    X[:, -1] += 3 * Y[:, 1]
    X[:, d // 2] += 6 * (labels == 1)
    X[:, d // 3] += 6 * (labels == 2)
    return Table(X.astype(dtype), Y, context, np.arange(n), (np.arange(n) // 8 % 2), labels)


@dataclasses.dataclass
class Measure:
    """Values of a measure on a table; its range; whether it is blind to scale, and to rows given twice as one group."""

    of: Callable
    low: float = -INF
    high: float = INF
    reason: str = ""
    """Why a value is NaN: in words; ``own`` where the result says it, ``NaN`` where the docstring does."""
    scale_free: bool = True
    tied: bool = False
    noisy: float = 0.0
    """How far estimates stray beyond the range at so few rows."""


def estimates(matrix):
    """Value and null of every pair; an Estimate refuses a NaN without a reason."""
    for row in matrix.measurements():
        assert np.isnan(row.estimate.value) or row.estimate.low <= row.estimate.high or np.isnan(row.estimate.low)
        assert np.isnan(row.estimate.p) or 0 < row.estimate.p <= 1
    return matrix.value.value


def left_out(of_table):
    """The jackknife of a function of kept rows: value and replicates."""

    def of(t):
        thing = of_table(t)
        if len(t.X) == 0:
            return thing()
        found = jackknife(thing, jackknife_blocks(t.groups, 4), len(np.unique(t.groups)))
        low, high = found.interval()
        assert np.all((np.asarray(low) <= np.asarray(high)) | np.isnan(low))
        return np.concatenate([np.ravel(found.value), np.ravel(found.replicates)])

    return of


def matrix_options(n_permutations=19):
    return {"n_blocks": 3, "device": "cpu"} | ({"n_permutations": n_permutations} if n_permutations else {})


def selected(t):
    found = selectivity(t.X, t.y, t.groups // 4, draws=2)
    assert np.isfinite(found.value) or found.reason
    return found.value


def described(t):
    found = description_length(t.X, t.y, t.groups, orders=1)
    assert np.isfinite(found.bits) or found.reason
    return found.bits_per_label


def graph(t):
    found = st.clusterability([t.X, t.X.T], n_clusters=2, n_shuffles=3)
    assert found.estimate().reason or np.isfinite(found.z)
    return found.ncut


def crowded(t):
    found = st.superposition(t.X)
    assert found.reason
    return np.concatenate([found.dimensionality, [found.mean_dimensionality]])


def spans(t):
    basis = st.functional_basis(t.X)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-9)
    return basis.shape[1]


WHERE = lambda t: (t.X, t.Y, t.context, t.groups)  # noqa: E731

MEASURES = {
    "participation_ratio": Measure(lambda t: st.participation_ratio(t.X, t.groups), 0, INF, "NaN", tied=True),
    "participation_ratio_jackknife": Measure(
        lambda t: st.participation_ratio_jackknife(t.X, jackknife_blocks(t.groups, 4), None, t.groups).replicates,
        0, INF, "NaN",
    ),
    "effective_rank": Measure(lambda t: st.effective_rank(t.X), 1, INF, "NaN", tied=True),
    "effective_rank_jackknife": Measure(
        lambda t: st.effective_rank_jackknife(t.X, jackknife_blocks(t.groups, 4)).replicates, 1, INF, "NaN"
    ),
    "intrinsic_dimension": Measure(
        lambda t: st.intrinsic_dimension(t.X, t.groups), 0, INF, st.IntrinsicDimension.reason, tied=True
    ),
    "IntrinsicDimension": Measure(
        left_out(lambda t: st.IntrinsicDimension(t.X, t.groups)), 0, INF, st.IntrinsicDimension.reason
    ),
    "intrinsic_dimension_subsampled": Measure(
        lambda t: st.intrinsic_dimension_subsampled(t.X, t.groups, n_draws=4).value,
        0, INF, st.IntrinsicDimension.reason, tied=True,
    ),
    "neural_collapse": Measure(
        lambda t: st.neural_collapse(t.X, t.labels, t.groups), 0, INF, st.NeuralCollapse.reason
    ),
    "NeuralCollapse": Measure(
        left_out(lambda t: st.NeuralCollapse(t.X, t.labels, t.groups)), 0, INF, st.NeuralCollapse.reason
    ),
    "additive_share": Measure(
        lambda t: st.additive_share(*WHERE(t)), 0, 1, st.AdditiveShare.reason, tied=True, noisy=1
    ),
    "AdditiveShare": Measure(left_out(lambda t: st.AdditiveShare(*WHERE(t))), 0, 1, st.AdditiveShare.reason, noisy=INF),
    "AdditiveShare.null": Measure(lambda t: st.AdditiveShare(*WHERE(t)).null(), 0, 1, st.AdditiveShare.reason),
    "ccgp": Measure(lambda t: st.ccgp(*WHERE(t)), 0, 1, st.Ccgp.reason),
    "Ccgp": Measure(left_out(lambda t: st.Ccgp(*WHERE(t))), 0, 1, st.Ccgp.reason, noisy=NOISY),
    "CcgpOverConcepts": Measure(
        left_out(lambda t: st.CcgpOverConcepts(t.X, t.Y, t.groups)), 0, 1, st.CcgpOverConcepts.reason, noisy=NOISY
    ),
    "parallelism": Measure(lambda t: st.parallelism(*WHERE(t)), -1, 1, st.Parallelism.reason, noisy=INF),
    "Parallelism": Measure(left_out(lambda t: st.Parallelism(*WHERE(t))), -1, 1, st.Parallelism.reason, noisy=INF),
    "ParallelismOverConcepts": Measure(
        left_out(lambda t: st.ParallelismOverConcepts(t.X, t.Y, t.groups)),
        -1, 1, st.ParallelismOverConcepts.reason, noisy=INF,
    ),
    "other_concepts": Measure(lambda t: st.other_concepts(t.Y), -1, 1),
    "probe_accuracy": Measure(lambda t: st.probe_accuracy(*WHERE(t)), 0, 1, st.ProbeAccuracy.reason),
    "ProbeAccuracy": Measure(
        left_out(lambda t: st.ProbeAccuracy(*WHERE(t))), 0, 1, st.ProbeAccuracy.reason, noisy=NOISY
    ),
    "coding_overlap": Measure(lambda t: st.coding_overlap(t.X, t.Y), 0, 1, st.OVERLAP_REASON, tied=True),
    "erasure_residual": Measure(lambda t: st.erasure_residual(*WHERE(t))[0], 0, 1, st.ErasureResidual.reason),
    "ErasureResidual": Measure(
        left_out(lambda t: st.ErasureResidual(*WHERE(t))), 0, 1, st.ErasureResidual.reason, noisy=INF
    ),
    "erasure_collateral": Measure(
        lambda t: st.erasure_collateral(*WHERE(t)), 0, 0.5, st.ErasureCollateral.reason, noisy=0.5
    ),
    "ErasureCollateral": Measure(
        left_out(lambda t: st.ErasureCollateral(*WHERE(t))), 0, 0.5, st.ErasureCollateral.reason, noisy=0.5
    ),
    "readout_effects": Measure(
        lambda t: st.readout_effects(t.X, np.ones((t.X.shape[1], 2))), 0, INF, scale_free=False, tied=True
    ),
    "unit_effects": Measure(lambda t: st.unit_effects(t.X, t.other, t.asks), 0, INF, scale_free=False, tied=True),
    "Dci": Measure(left_out(lambda t: st.Dci(t.X, t.other, t.asks)), 0, 1, st.Dci.reason),
    "disentanglement": Measure(lambda t: st.disentanglement(np.abs(t.X)), 0, 1, "NaN", tied=True),
    "completeness": Measure(lambda t: st.completeness(np.abs(t.X)), 0, 1, "NaN"),
    "weight_modularity": Measure(lambda t: st.weight_modularity(np.abs(t.X)), 0, 1, "NaN", tied=True),
    "superposition": Measure(crowded, 0, 1, st.Superposition.reason),
    "clusterability": Measure(graph, 0, 2, st.Clusterability.reason),
    "total_rms": Measure(lambda t: st.total_rms(t.X), 0, INF, scale_free=False, tied=True),
    "functional_rms": Measure(lambda t: st.functional_rms(t.X, t.X), 0, INF, scale_free=False, tied=True),
    "functional_basis": Measure(spans, 0, INF),
    "project": Measure(lambda t: st.project(t.X, np.eye(t.X.shape[1])[:, :1]), scale_free=False),
    "cka": Measure(lambda t: st.cka(t.X, t.other), -1, 1, "NaN", noisy=NOISY),
    "cka, biased": Measure(lambda t: st.cka(t.X, t.other, debiased=False), 0, 1, "NaN", tied=True),
    "cka_matrix": Measure(
        lambda t: estimates(st.cka_matrix([t.X], [t.other], t.groups, **matrix_options())), -1, 1, "own", noisy=NOISY
    ),
    "procrustes": Measure(lambda t: st.procrustes(t.X, t.other), 0, math.pi / 2, "NaN", tied=True),
    "procrustes_matrix": Measure(
        lambda t: estimates(st.procrustes_matrix([t.X], [t.other], t.groups, **matrix_options())),
        0, math.pi / 2, "own", tied=True,
    ),
    "mutual_knn": Measure(lambda t: st.mutual_knn(t.X, t.other, 3, t.groups), -1, 1, "NaN"),
    "mutual_knn_matrix": Measure(
        lambda t: estimates(st.mutual_knn_matrix([t.X], [t.other], t.groups, k=3, **matrix_options())), -1, 1, "own"
    ),
    "mean_r2_cca": Measure(lambda t: st.mean_r2_cca(t.X, t.other), 0, 1, "NaN"),
    "cca_matrix": Measure(
        lambda t: estimates(st.cca_matrix([t.X], [t.other], t.groups, **matrix_options(0))), 0, 1, "own"
    ),
    "selectivity": Measure(selected, -1, 1, "own", scale_free=True),
    "description_length": Measure(described, 0, INF, "own"),
}  # fmt: skip


FULL = table(48)


def with_value(value):
    X = FULL.X.copy()
    X[3, 1] = value
    return FULL.but(X=X)


def half_constant():
    X = FULL.X.copy()
    X[:, 1:4] = 7.3
    return FULL.but(X=X)


def doubled(groups):
    twice = FULL.rows(np.r_[np.arange(48), np.arange(48)])
    return twice.but(groups=groups)


UNKNOWN = np.full(48, np.nan)
TABLES = {
    **{f"{n} rows": table(n) for n in range(6)},
    "one dimension": table(48, 1),
    "fewer rows than dimensions": table(20, 60),
    "half the columns constant": half_constant(),
    "rows given twice, as one group": doubled(np.r_[np.arange(48), np.arange(48)]),
    "rows given twice": doubled(np.arange(96)),
    "one class": FULL.but(Y=np.zeros((48, 2)), labels=np.zeros(48, int), asks=np.zeros(48, int)),
    "one concept unknown": FULL.but(Y=np.column_stack([UNKNOWN, FULL.Y[:, 1]]), labels=UNKNOWN),
    "all concepts unknown": FULL.but(Y=np.column_stack([UNKNOWN, UNKNOWN])),
    "no context with both classes": FULL.but(context=FULL.y.astype(int)),
    "one context": FULL.but(context=np.zeros(48, int)),
    "one group": FULL.but(groups=np.zeros(48, int)),
    "float32": table(48, dtype=np.float32),
    "float16": table(48, dtype=np.float16),
}
FLAT = {f"every row {what}": FULL.but(X=X) for what, X in {
    "the first": np.tile(FULL.X[:1], (48, 1)), "zero": np.zeros((48, 6)), "a tenth": np.full((48, 6), 0.1),
}.items()}  # fmt: skip
SCALES = {
    "1e-30": (FULL.but(X=FULL.X * 1e-30), 1e-9),
    "1e30": (FULL.but(X=FULL.X * 1e30), 1e-9),
    "1e-30 in float32": (FULL.but(X=(FULL.X * 1e-30).astype(np.float32)), 1e-4),
    "1e30 in float32": (FULL.but(X=(FULL.X * 1e30).astype(np.float32)), 1e-4),
}
EFFECTS = ("readout_effects", "unit_effects", "total_rms", "functional_rms", "project")
OF_ROWS = ("disentanglement", "completeness", "weight_modularity", "superposition", "clusterability",
           "functional_basis", "project", "other_concepts", "AdditiveShare.null")  # fmt: skip
"""What is no spread of rows: matrices of effects and weights, and labels."""


def values(measure, of):
    return np.ravel(np.asarray(measure.of(of), dtype=float))


@functools.cache
def usual(name):
    """The values of a measure on the full table."""
    return values(MEASURES[name], FULL)


def refused(measure, of):
    """The values, or None for an error of one line."""
    try:
        return values(measure, of)
    except InputError as error:
        assert str(error) and "\n" not in str(error)
        return None


@pytest.mark.parametrize("name", MEASURES)
def test_every_value_is_in_range_explained_or_refused(name):
    measure = MEASURES[name]
    for what, of in {**TABLES, **FLAT}.items():
        found = refused(measure, of)
        if found is None:
            continue
        assert not np.isinf(found).any(), what
        known = found[~np.isnan(found)]
        assert ((known >= measure.low - measure.noisy - 1e-6) & (known <= measure.high + measure.noisy + 1e-6)).all(), (
            what
        )
        assert len(known) == len(found) or measure.reason, what


@pytest.mark.parametrize("name", sorted(set(MEASURES) - set(OF_ROWS)))
@pytest.mark.parametrize("what", FLAT)
def test_rows_that_do_not_differ_say_nothing(name, what):
    found = refused(MEASURES[name], FLAT[what])
    if found is None or name == "description_length":
        return
    chance = {"selectivity": 0.0}.get(name, 0.0 if name in EFFECTS else 0.5)
    assert np.all(np.isnan(found) | (np.abs(found - chance) < 1e-9))


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.scale_free])
@pytest.mark.parametrize("scale", SCALES)
def test_scale_does_not_count(name, scale):
    of, tolerance = SCALES[scale]
    tolerance = 1e-3 if name in ("description_length", "selectivity") else tolerance
    np.testing.assert_allclose(values(MEASURES[name], of), usual(name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name, measure in MEASURES.items() if measure.tied])
def test_rows_given_twice_in_one_group_count_once(name):
    twice = TABLES["rows given twice, as one group"]
    np.testing.assert_allclose(
        np.unique(values(MEASURES[name], twice).round(9)), np.unique(usual(name).round(9)), atol=1e-6
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(set(MEASURES) - {"other_concepts"}))
def test_what_is_not_finite_is_named(name, value):
    with pytest.raises(InputError, match=r"(nan|inf)\b.*3\b.*1\b"):
        MEASURES[name].of(with_value(value))


class Watched:
    """A table that notes which of its columns are looked at."""

    def __init__(self, of):
        self.of, self.seen = of, set()

    def __getattr__(self, name):
        self.seen.add("Y" if name == "y" else name)
        return getattr(self.of, name)


def looked_at():
    """(measure, column) for each column beside the activations that a measure takes, one value a row."""
    for name, measure in MEASURES.items():
        # Blocks of a jackknife say themselves which rows there are.
        if name[0].isupper() or name == "other_concepts":
            continue
        watched = Watched(FULL)
        measure.of(watched)
        yield from ((name, part) for part in sorted(watched.seen - {"X", "other"}))


@pytest.mark.parametrize(("name", "part"), list(looked_at()))
def test_a_column_with_a_row_too_few_is_refused(name, part):
    with pytest.raises(InputError, match="47"):
        MEASURES[name].of(FULL.but(**{part: getattr(FULL, part)[:-1]}))


@pytest.mark.parametrize("name", MEASURES)
def test_whole_numbers_are_taken_as_they_are_or_refused(name):
    whole = FULL.but(X=np.round(FULL.X * 3).astype(int))
    try:
        found = values(MEASURES[name], whole)
    except (InputError, TypeCheckError):
        return
    real = values(MEASURES[name], whole.but(X=whole.X.astype(float)))
    np.testing.assert_allclose(found, real)


NOTHING, ONE = np.array([]), np.array([1.0])
CURVES = {
    "no noise scales": lambda: st.NoiseTolerance(NOTHING, np.zeros((0, 3)), np.ones(3)),
    "other items": lambda: st.NoiseTolerance(ONE, np.zeros((1, 3)), np.ones(4)),
    "accuracy unknown": lambda: st.noise_tolerance(ONE, np.array([np.nan]), 0.9),
    "no dimension": lambda: st.noise_std(1.0, 1.0, 0),
    "no direction": lambda: st.random_overlap(0),
    "infinite concept": lambda: st.coding_overlap(FULL.X, np.full((48, 2), np.inf)),
    "no orders": lambda: st.AblationArea(ONE, np.zeros((0, 1, 3)), np.ones(3)),
    "other scores": lambda: st.AblationArea(ONE, np.zeros((2, 1, 3)), np.ones(4)),
    "performance unknown": lambda: st.ablation_area(ONE, np.array([np.nan]), 1.0),
    "no units": lambda: st.ablation_counts(0),
    "nothing ablated": lambda: st.ablation_curve(lambda _: np.ones(3), 2, np.array([], dtype=int)),
    "other losses": lambda: st.WeightNoise(ONE, np.zeros((2, 1, 3)), np.zeros(4)),
    "no weight noise": lambda: st.weight_noise_slope(NOTHING, NOTHING),
    "no filters": lambda: st.filter_scales({}),
    "basis unknown": lambda: st.project(FULL.X, np.full((6, 1), np.nan)),
    "other width": lambda: st.project(FULL.X, np.eye(5)),
    "no layers": lambda: st.cka_matrix([], [FULL.X]),
    "other items in B": lambda: st.cka(FULL.X, FULL.X[1:]),
    "no rows": lambda: st.mutual_knn(FULL.X[:0], FULL.X[:0]),
}


@pytest.mark.parametrize("what", CURVES)
def test_a_curve_that_cannot_be_one_is_refused(what):
    with pytest.raises(InputError) as error:
        CURVES[what]()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "of_rows",
    [
        st.NoiseTolerance(ONE, np.zeros((1, 3)), np.ones(3)),
        st.AblationArea(ONE, np.zeros((2, 1, 3)), np.ones(3)),
        st.WeightNoise(ONE, np.zeros((2, 1, 3)), np.zeros(3)),
        st.WeightNoise(ONE, np.full((2, 1, 3), np.inf), np.full(3, np.inf)),
    ],
)
def test_no_rows_and_losses_without_end_are_undefined(of_rows):
    assert of_rows.reason and np.isnan(of_rows(np.array([], dtype=int)))
    assert np.isfinite(of_rows()) or isinstance(of_rows, st.WeightNoise)


def test_erasing_a_concept_of_one_class_is_no_erasure():
    Y = np.column_stack([np.ones(48), FULL.Y[:, 1]])
    assert np.isnan(st.erasure_collateral(FULL.X, Y)).all()
