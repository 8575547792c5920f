"""What the study of glass boxes is made of: its world, its models, circuits and the frontier."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from sklearn.tree import DecisionTreeClassifier

from analyses._glass_boxes import boxes, circuit, draw, frontier, readers, rules, world
from mechdecouple.errors import InputError


def plants(n, seed, agrees=0.8, new=False):
    return world.draw(n, np.random.default_rng(seed), agrees, new)


def test_combinations_held_out_are_in_no_training_and_the_leaf_goes_along_as_often_as_said():
    for agrees, new in ((0.8, False), (0.2, True)):
        drawn = plants(20_000, 0, agrees, new)
        assert (world.held_out()[world.code(drawn.features)] == new).all()
        match = world.known(drawn.features, "match")
        assert (drawn.features[:, world.LEAF] == match).mean() == pytest.approx(agrees, abs=0.03)
        assert match.mean() == pytest.approx(0.5, abs=0.1)


def test_plants_thrive_as_often_as_their_odds_say_and_frost_counts_in_the_open():
    drawn = plants(40_000, 1)
    chance = world.chance(drawn.features)
    for low in np.arange(0, 1, 0.25):
        rows = (chance >= low) & (chance < low + 0.25)
        assert drawn.label[rows].mean() == pytest.approx(chance[rows].mean(), abs=0.03)
    one = np.zeros((4, 10), int)
    one[1, world.FROST] = one[2, world.SHELTER] = one[3, [world.FROST, world.SHELTER]] = 1
    odds = world.log_odds(one)
    assert odds[1] < odds[0]
    assert odds[0] == odds[2] == odds[3]
    one[:, world.LEAF], one[:, world.SITE], one[:, world.TAG] = 1, 1, 1
    assert (world.log_odds(one) == odds).all()


def test_prompts_say_the_features_and_tokens_are_theirs():
    drawn = plants(20, 2)
    task = world.plant_task({"test": drawn})
    for prompt, row in zip(task.frame["prompt"], drawn.features, strict=True):
        said = prompt.split()
        assert said[-1] == world.QUESTION
        assert set(said[:-1]) == {pair[v] for pair, v in zip(world.FEATURES.values(), row, strict=True)}
    same = np.random.default_rng(0)
    tokens = world.tokens(drawn, readers.vocabulary(), np.random.default_rng(0))
    words = np.take(world.VALUES, drawn.words(same))
    prompts = [" ".join([*row, world.QUESTION]) for row in words]
    assert tokens.tolist() == readers.Reader("", "").tokenizer()(prompts)["input_ids"]
    assert tokens.shape[1] == world.LENGTH == world.AT_ANSWER + 1
    assert list(task.concepts) == [name for name in world.NAMES if name != "site"]


def test_a_planted_rule_list_is_found_again():
    X = np.random.default_rng(3).integers(2, size=(4000, 6))
    y = np.where((X[:, 0] == 1) & (X[:, 1] == 0), 1, np.where(X[:, 2] == 1, 0, 1))
    found = rules.RuleListFitter(rules=4, conditions=2).fit(X, y)
    assert (found.predict_proba(X).argmax(axis=1) == y).all()
    # The shortest list that says the same.
    assert found.sentences([(f"not{i}", f"is{i}") for i in range(6)], ("no", "yes")) == (
        "if not2: yes (1.00)", "else if is0 and not1: yes (1.00)", "else no (1.00)"
    )  # fmt: skip


def test_a_rule_decides_what_no_rule_before_it_does():
    rule = rules.RuleList((((0, 1),), ((1, 1),), ()), np.array([0.9, 0.2, 0.6]))
    X = np.array([[1, 1], [0, 1], [0, 0], [1, 0]])
    assert rule.predict_proba(X)[:, 1].tolist() == [0.9, 0.2, 0.6, 0.9]
    assert rule.sentences([("a", "b"), ("c", "d")], ("no", "yes")) == (
        "if b: yes (0.90)", "else if d: no (0.80)", "else yes (0.60)"
    )  # fmt: skip


def test_no_single_rule_gains_more_than_the_first_one_taken():
    rng = np.random.default_rng(4)
    X = rng.integers(2, size=(500, 5))
    y = (rng.random(500) < np.where(X[:, 3] == 1, 0.8, 0.4)).astype(int)
    (first, *_), fitted = (found := rules.RuleListFitter(rules=2, conditions=1, least=1).fit(X, y)).rules, found.odds
    met = rules.holds(first, X)
    assert fitted[0] == pytest.approx((y[met].sum() + 1) / (met.sum() + 2))
    gains = []
    for feature in range(5):
        p = [y[X[:, feature] == v].mean() for v in (0, 1)]
        p = np.take(p, X[:, feature])
        gains.append(np.log(np.where(y == 1, p, 1 - p)).sum())
    assert first[0][0] == int(np.argmax(gains)) == 3
    with pytest.raises(InputError, match="values of 0 and 1"):
        rules.RuleListFitter().fit(X * 2, y)


def test_trees_are_as_accurate_as_those_of_scikit_learn():
    known, fresh = plants(3000, 5), plants(2000, 6, new=True)
    for depth in (2, 4, 8):
        theirs = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=20, random_state=0)
        expected = (theirs.fit(known.features, known.label).predict(fresh.features) == fresh.label).mean()
        box = boxes.tree(depth)(known.features, known.label)
        given = box.predict(fresh.features)
        assert (given.argmax(axis=1) == fresh.label).mean() == pytest.approx(expected, abs=0.02)
        assert box.size <= theirs.get_n_leaves()
        assert given.sum(axis=1) == pytest.approx(1)


def test_products_reach_what_the_odds_allow_and_sums_do_not():
    known, fresh = plants(6000, 7), plants(3000, 8, new=True)
    best = (world.chance(fresh.features) > 0.5) == fresh.label
    accuracy = {
        pairs: (boxes.logistic(8, pairs)(known.features, known.label).predict(fresh.features).argmax(1)
                == fresh.label).mean()
        for pairs in (False, True)
    }  # fmt: skip
    assert accuracy[True] > best.mean() - 0.02
    assert accuracy[False] < best.mean() - 0.05
    assert boxes.with_pairs(np.array([[0, 1, 1]])).tolist() == [[-1, 1, 1, -1, -1, 1]]


@pytest.fixture(scope="module")
def small():
    made = readers.Reader("tiny", "", steps=3, batch_size=8, width=16, kept=0.25)
    return made, made.train(0, progress=False)


def test_the_share_of_weights_falls_evenly_in_its_logarithm():
    shares = [readers.share_at(progress, 1 / 16) for progress in (0, readers.ANNEALED / 2, readers.ANNEALED, 1)]
    assert shares == pytest.approx([1, 1 / 4, 1 / 16, 1 / 16])
    assert readers.share_at(0.7, 1.0) == 1


def test_only_the_largest_weights_of_each_matrix_are_kept(small):
    made, model = small
    for _, weight in readers.weights(model):
        assert int(weight.count_nonzero()) <= int(np.ceil(0.25 * weight.numel()))
        assert int(weight.count_nonzero()) >= 0.9 * 0.25 * weight.numel() - 1
    assert readers.nonzero(model) == sum(int((w != 0).sum()) for _, w in readers.weights(model))
    dense = made.blank(0)
    before = dense.blocks[0].mlp.W_in.detach().clone()
    readers.sparsify(dense, 0.5)
    left = dense.blocks[0].mlp.W_in.detach()
    assert float(before[left == 0].abs().max()) < float(before[left != 0].abs().min())
    assert (left[left != 0] == before[left != 0]).all()


def shown(n=24):
    drawn = plants(n, 9)
    return torch.from_numpy(world.tokens(drawn, readers.vocabulary(), np.random.default_rng(0)))


def test_with_all_nodes_kept_every_weight_is_an_edge_but_for_words_that_are_no_answer():
    model = readers.Reader("tiny", "", width=16).blank(0)
    base = {site: torch.ones(x.shape[2:]) for site, x in circuit._activations(model, shown(2)).items()}
    silent = model.W_U.shape[0] * (model.W_U.shape[1] - 2)
    assert circuit.edges(model, base) == sum(w.numel() for _, w in readers.weights(model)) - silent
    base["blocks.0.mlp.hook_post"][:] = 0
    neurons = model.blocks[0].mlp.W_in.numel() + model.blocks[0].mlp.W_out.numel()
    assert circuit.edges(model, base) == sum(w.numel() for _, w in readers.weights(model)) - silent - neurons


def test_the_circuit_leaves_out_what_a_planted_model_does_not_use():
    model = readers.Reader("tiny", "", width=16).blank(0)
    no, yes = readers.spoken_tokens().tolist()
    with torch.no_grad():
        # Light alone decides, by way of channel 0, one value channel and channel 1; all neurons are idle.
        for _, weight in readers.weights(model):
            weight.zero_()
        for word, size in (("sunny", 1.0), ("shady", -1.0)):
            model.W_E[readers.vocabulary()[word], 0] = size
        model.W_E[:, 2] = 1
        model.blocks[0].attn.W_V[0, 0, 3] = 1
        model.blocks[0].attn.W_O[0, 3, 1] = 1
        model.W_U[1, yes], model.W_U[1, no] = 5, -5
        model.blocks[0].mlp.W_in[5, :] = 1
    found = circuit.circuit(model, shown(64), shown(64))
    assert found.agreement >= circuit.AGREES
    assert found.on_fresh == found.agreement
    # Those of sunny and shady; and channel 2 only if it were kept.
    assert found.edges == 2 + 1 + 1 + 2
    assert found.nodes <= 8
    assert circuit.weights_needed(model, shown(64)) >= 4


def test_a_circuit_is_judged_on_fresh_items_too(small):
    _, model = small
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, weight in readers.weights(model):
            weight.normal_(generator=source)
    # Of one item a circuit gives the answer or does not; over items, the mean of that.
    items = shown(64)
    each = [circuit.circuit(model, items, item[None], agrees=0.8) for item in items[:8]]
    assert {found.on_fresh for found in each} <= {0.0, 1.0}
    assert 0.8 <= each[0].agreement < 1
    assert circuit.circuit(model, items, items[:8], agrees=0.8).on_fresh == sum(found.on_fresh for found in each) / 8


def test_pruning_leaves_the_model_as_it_was(small):
    _, model = small
    before = [w.detach().clone() for _, w in readers.weights(model)]
    needed = circuit.weights_needed(model, shown())
    assert 0 < needed <= readers.nonzero(model)
    for was, (_, now) in zip(before, readers.weights(model), strict=True):
        assert (was == now).all()


def test_kappa_is_that_of_scikit_learn_and_draws_are_of_the_numbers_measured():
    rng = np.random.default_rng(10)
    answer, correct = rng.integers(2, size=400), rng.integers(2, size=400)
    named = {"a": np.where(rng.random(400) < 0.2, 1 - answer, answer), "b": rng.integers(2, size=400)}
    groups = rng.integers(40, size=400)
    models = [[frontier.Judged(correct, answer, named)], [frontier.Judged(1 - correct, answer, {"b": named["b"]})]]
    exact = frontier.as_measured(models, groups)
    assert exact.accuracy[0] == pytest.approx([correct.mean(), 1 - correct.mean()])
    kappas = [cohen_kappa_score(answer, named[name]) for name in ("a", "b")]
    assert exact.simulatability[0] == pytest.approx(kappas)
    draws = frontier.resampled(models, groups, 500)
    assert draws.accuracy.mean(axis=0) == pytest.approx(exact.accuracy[0], abs=0.02)
    spread = np.array([correct[groups == g].sum() - correct.mean() * (groups == g).sum() for g in range(40)])
    assert draws.accuracy[:, 0].std() == pytest.approx((spread**2).sum() ** 0.5 / 400, rel=0.2)


def test_the_frontier_is_what_nothing_beats_in_both():
    assert frontier.pareto(np.array([0.5, 0.5, 0.4]), np.array([0.5, 0.5, 0.5])).tolist() == [True, True, False]
    draws = frontier.Draws(np.array([[0.9, 0.8], [0.7, 0.8]]), np.array([[0.5, 0.4], [0.5, 0.4]]))
    assert draws.on_frontier().tolist() == [1.0, 0.5]


def test_labels_cover_neither_each_other_nor_points():
    rng = np.random.default_rng(11)
    points = np.array([60.0, 80.0]) + rng.normal(scale=6, size=(8, 2))
    sizes = np.tile([14.0, 7.0], (8, 1))
    at = points + draw.beside(points, sizes)
    apart = (np.abs(at[:, None] - at) >= sizes).any(axis=2)
    assert apart[~np.eye(8, dtype=bool)].all()
    assert (np.abs(at[:, None] - points) >= (sizes + 7) / 2).any(axis=2).all()
