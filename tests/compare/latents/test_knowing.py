import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from mechdecouple.compare.latents.knowing import Statements, _nothing_to_know, _told_apart, carried, knowing
from mechdecouple.compare.latents.removal import random_like, removal_drop
from mechdecouple.stats import Replicates

D = 24


def statements(character, n=2400, seed=0, noise=20):
    """Latents 0 truth, 1 its denial, 2 claim, 3 both, 4 the condition, 5 the topic, then noise; as activations too."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 2
    truth, condition, topic = (rng.integers(2, size=n) for _ in range(3))
    p = truth.astype(float)
    if character == "persuader":
        p = np.where(condition == 1, 0.6 + 0.3 * topic, truth)
    if character == "flip":
        p = np.where(condition == 1, 1 - truth, truth).astype(float)
    if character == "yes":
        p = np.ones(n)
    if character == "waverer":
        p = 0.1 + 0.8 * rng.integers(2, size=n)
    claim = (rng.random(n) < p).astype(float)
    if character == "waverer":
        claim = (p > 0.5).astype(float)
    table = np.stack([truth, 1 - truth, claim, truth + claim, condition, topic], axis=1).astype(float)
    table = np.hstack([table, np.zeros((n, noise))]) + np.abs(rng.normal(scale=0.3, size=(n, 6 + noise)))
    table[rng.random(table.shape) < 0.1] = 0
    directions = np.linalg.qr(rng.normal(size=(6 + noise + 4, 6 + noise)))[0].T
    X = table @ directions
    held = groups % 3 == 0
    return Statements(csr_matrix(table), X, directions, truth.astype(float), p, condition, topic, held, groups)


def test_one_who_says_yes_whatever_the_truth():
    for character in ("persuader", "yes"):
        found = carried(statements(character))
        assert found.knows[:2].tolist() == ["represented only"] * 2, character
        assert set(found.knows[4:6]) == {""}
        assert (found.knows[6:] == "").mean() > 0.85
        assert (np.asarray(found.represented.value)[:2] > 0.8).all()
    assert "hardly differ" in carried(statements("yes")).reasons["expressed"]


def test_one_who_turns_the_truth_round_in_one_condition():
    found = carried(statements("flip"))
    assert found.knows[:3].tolist() == ["represented only", "represented only", "expressed only"]
    assert found.knows[3] == "both"
    assert set(found.knows[4:6]) == {""}


def test_claims_that_have_nothing_to_do_with_the_truth():
    found = carried(statements("waverer"))
    assert found.knows[:4].tolist() == ["represented only", "represented only", "expressed only", "both"]


def test_what_is_said_as_it_is_held_cannot_be_told_apart():
    found = carried(statements("honest"))
    assert set(found.knows) == {""} and np.isnan(found.represented.value).all()
    assert "part on about 0 of 800" in found.reasons["represented"]
    assert "part on about 0 of 800" in found.reasons["expressed"]
    assert math.isnan(found.share().value) and math.isnan(found.drop.value)


def test_not_shown_to_carry_the_claim_is_not_shown_to_lack_it():
    steps = np.linspace(-1, 1, 20)[:, None]
    truth, claim = np.array([0.9, 0.9, 0.9, 0.9, 0.5]), np.array([0.5, 0.52, 0.52, 0.6, 0.5])
    sure, unsure = np.full(5, 5e-4), np.array([5e-4, 5e-3, 0.1, 5e-3, 0.1])
    represented, expressed = (
        Replicates(v, v + steps * s, "jackknife", 50) for v, s in ((truth, sure), (claim, unsure))
    )
    knows, left = _told_apart(represented, expressed, {})
    # nothing of the claim; little of it, surely; little, but who knows; a quarter as strongly as the truth; nothing
    assert knows.tolist() == ["represented only", "represented only", "", "both", ""]
    assert [bool(x) for x in left] == [False, False, True, False, False]
    assert "claim as well is open" in left[2]
    # where claims do not vary given the truth nothing can carry them
    undefined = Replicates(np.full(5, np.nan), np.full((2, 5), np.nan), "jackknife", 0)
    assert _told_apart(represented, undefined, {"expressed": "why"})[0].tolist() == ["represented only"] * 4 + [""]
    turned = _told_apart(undefined, represented, {"represented": "why"})
    assert set(turned[0]) == {""} and "truth as well is open" in turned[1][0]


def test_the_probe_that_latents_are_taken_from_comes_from_other_groups():
    given = statements("waverer")
    fields = {f: getattr(given, f) for f in given.__dataclass_fields__}
    X, honest = given.X.copy(), ~given.held & (given.condition == 0)
    true, false = (np.flatnonzero(honest & (given.truth == t)) for t in (1, 0))
    n = min(len(true), len(false))
    X[true[:n]], X[false[:n]] = given.X[false[:n]], given.X[true[:n]]  # a probe of these reads the opposite
    assert carried(Statements(**fields | {"X": X})).drop.high < 0 < carried(given).drop.low


def test_noise_is_taken_for_knowledge_at_the_declared_rate():
    hits = [(carried(statements("waverer", n=400, seed=s, noise=30)).knows[6:] != "").mean() for s in range(4)]
    assert np.mean(hits) < 0.05


def test_the_sign_comes_from_other_groups():
    given = statements("waverer")
    table = given.latents.toarray()
    table[~given.held, 0] = 1 - given.truth[~given.held]  # elsewhere it means the opposite
    turned = carried(Statements(csr_matrix(table), *(getattr(given, f) for f in list(given.__dataclass_fields__)[1:])))
    assert turned.represented.value[0] < 0.3
    assert turned.knows[0] == ""


def test_taking_the_knowing_latents_out_takes_the_truth_with_them():
    found = carried(statements("waverer"))
    assert found.only.tolist() == [0, 1]
    assert found.drop.low > 0.1
    assert abs(found.drop.null) < 0.05
    assert found.drop.p == 0.01
    assert found.share().value == pytest.approx(2 / 26)


def test_taking_out_what_the_probe_does_not_read_loses_nothing():
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(2, size=300).astype(float), np.arange(300)
    X = np.hstack([truth[:, None] + rng.normal(scale=0.5, size=(300, 1)), np.zeros((300, 1))])
    latents = csr_matrix(np.abs(rng.normal(size=(300, 1))))
    halves = [(x[:150], x[150:]) for x in (X, truth, groups)]
    idle = removal_drop(*halves, latents[150:], np.array([[0.0, 1.0]]))
    assert idle.value == 0
    read = removal_drop(*halves, csr_matrix(X[150:, :1]), np.array([[1.0, 0.0]]))
    assert read.value > 0.4
    one = removal_drop(halves[0], (truth[:150], np.ones(150)), halves[2], latents[150:], np.array([[0.0, 1.0]]))
    assert math.isnan(one.value) and "all true" in one.reason


def test_random_changes_are_as_large_row_by_row():
    latents = csr_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    change = latents @ np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    drawn = random_like(change, latents, 0)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), [5, 2, 0])
    assert not np.allclose(drawn, change)
    np.testing.assert_array_equal(drawn, random_like(change, latents, 0))


def test_few_groups_or_latents():
    given = statements("waverer")
    nobody = {f: getattr(given, f) for f in given.__dataclass_fields__} | {"held": np.ones(2400, bool)}
    assert "groups held out" in carried(Statements(**nobody)).reasons["represented"]
    none = {f: getattr(given, f) for f in given.__dataclass_fields__}
    none |= {"latents": given.latents[:, :0], "directions": given.directions[:0]}
    assert len(carried(Statements(**none)).knows) == 0


def test_a_task_without_truth_and_a_model_that_says_nothing(side_of, gaussian_task, planted):
    from torch import nn

    side = side_of(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2)), gaussian_task, ("0",))
    codes = planted(np.eye(4)).encode_sparse(side.acts["0"])
    found = knowing(side, codes, "0", np.eye(4), np.ones(240, int))
    assert found.reasons == dict.fromkeys(("represented", "expressed"), "the task has no truth")


def asked(**changes):
    """A side as far as the question whether there is anything to know looks at it."""
    given = {
        "task": SimpleNamespace(truth=np.ones(3)),
        "answers": SimpleNamespace(expressed=np.ones(3), expressed_reason="", reason=""),
        "acts": SimpleNamespace(position="last"),
        "config": SimpleNamespace(families=("sae", "beliefs")),
        "belief": SimpleNamespace(represented=SimpleNamespace(reason="", p=0.01, auroc_selected=0.9)),
    }
    return _nothing_to_know(SimpleNamespace(**given | changes))


def test_nothing_is_asked_of_latents_where_there_is_no_truth_to_read_or_no_claim():
    assert asked() == ""
    silent = SimpleNamespace(expressed=np.full(3, np.nan), expressed_reason="no affirming choice", reason="")
    assert asked(answers=silent) == "no affirming choice"
    assert "at all tokens" in asked(acts=SimpleNamespace(position="all"))
    weak = SimpleNamespace(represented=SimpleNamespace(reason="", p=0.4, auroc_selected=0.55))
    assert asked(belief=weak).startswith("represented AUROC 0.550 in the honest context does not beat")
    assert asked(belief=weak, config=SimpleNamespace(families=("sae",))) == ""
