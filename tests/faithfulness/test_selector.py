import numpy as np
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.recovery import rationale_auroc
from mechdecouple.faithfulness.selector import Selector, check_selection, conceal, fit_evaluator, fit_selector


def switched(n, seed=0):
    """Eight signs: the first says whether the answer is the second or the third; [n, 8] which of them are used."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-1.0, 1.0], (n, 8)).astype(np.float32)
    second = x[:, 0] > 0
    y = np.where(second, x[:, 1], x[:, 2]) > 0
    used = np.zeros((n, 8), bool)
    used[:, 0], used[:, 1], used[:, 2] = True, second, ~second
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64)), used


def network(out, width=32, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))


@pytest.fixture(scope="module")
def evaluator():
    x, y, _ = switched(2000)
    return fit_evaluator(x, y, evaluator=network(2), steps=400, progress=False)


@pytest.fixture(scope="module")
def apart():
    x, y, _ = switched(2000)
    return fit_selector(
        x, y, selector=network(8, seed=1), predictor=network(2, seed=2), sparsity=0.8, steps=400, progress=False
    )


def test_a_selector_trained_apart_finds_what_is_used(apart, evaluator):
    x, y, used = switched(400, seed=5)
    found = rationale_auroc(apart.probabilities(x), used, np.ones_like(used))
    assert found.mean() > 0.95
    check = check_selection(apart, evaluator, x, y, np.arange(400))
    accuracy = {key: values.value for key, values in check.accuracy.items()}
    assert accuracy["selected"] > 0.9 > accuracy["random"] + 0.1
    assert accuracy["whole"] > 0.95
    rows = check.frame().set_index("metric")
    assert rows.loc["selected_accuracy"].p < 0.001
    assert rows.loc["encoded_accuracy"].low < 0.03
    assert 0.2 < rows.loc["selected_share"].value < 0.5
    assert rows.family.eq("faithfulness").all() and "keeps" in check._repr_html_()


def test_an_answer_that_is_encoded_in_the_selection_is_found_out(evaluator):
    """A selector that knows the answer and keeps a sign that says nothing, the seventh for yes and the eighth for no;
    its predictor reads which of them is kept."""

    class Encoding(nn.Module):
        def forward(self, x):
            yes = torch.where(x[:, 0] > 0, x[:, 1], x[:, 2]) > 0
            out = torch.full(x.shape, -9.0)
            out[:, 6], out[:, 7] = torch.where(yes, 9.0, -9.0), torch.where(yes, -9.0, 9.0)
            return out

    class Decoding(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 7].abs(), x[:, 6].abs()], dim=1)

    x, y, _ = switched(400, seed=5)
    check = check_selection(Selector(Encoding(), Decoding(), 0, "together"), evaluator, x, y, np.arange(400))
    assert check.accuracy["own"].value == 1.0
    assert check.accuracy["selected"].value < 0.65
    row = check.frame().set_index("metric").loc["encoded_accuracy"]
    assert row.value > 0.35 and row.p < 1e-4
    assert check.share.value == pytest.approx(1 / 8)


def test_training_together_fits_the_predictor_to_what_is_kept(evaluator):
    x, y, _ = switched(2000)
    both = fit_selector(
        x, y, selector=network(8, seed=1), predictor=network(2, seed=2), way="together", sparsity=0.8, steps=400,
        progress=False,
    )  # fmt: skip
    x, y, _ = switched(400, seed=5)
    check = check_selection(both, evaluator, x, y, np.arange(400))
    assert check.accuracy["own"].value > 0.9
    assert check.share.value < 0.5


def test_the_gradient_through_the_coins_is_that_of_the_expectation():
    """Oracle: all subsets of three features by hand, against many draws of the estimator's own steps."""
    torch.manual_seed(0)
    weights = torch.tensor([1.5, -0.5, 0.2])

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([0.3, -0.2, 0.1]))

        def forward(self, x):
            return self.logits.expand(len(x), 3)

    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1), requires_grad=True)

        def forward(self, x):
            z = x @ weights
            return torch.stack([z, -z], dim=1) + 0 * self.unused

    x, y = torch.ones(64, 3), torch.zeros(64, dtype=torch.long)
    start, step = Fixed(), 1e-3
    p = torch.sigmoid(start.logits)
    total = torch.zeros(())
    for bits in np.ndindex(2, 2, 2):
        kept = torch.tensor(bits, dtype=torch.float32)
        chance = torch.where(kept > 0, p, 1 - p).prod()
        z = (kept * weights).sum()
        total = total + chance * nn.functional.logsigmoid(2 * z)
    (total - 0.5 * p.mean()).backward()
    expected = start.logits.grad.clone()
    # Adam's first step has the size of the rate, so plain descent is put in its place
    grads = []

    class Descent(torch.optim.SGD):
        def __init__(self, params, lr):
            super().__init__(params, lr=step)

        def step(self, closure=None):
            grads.append(self.param_groups[0]["params"][0].grad.clone())

    adam, torch.optim.Adam = torch.optim.Adam, Descent
    try:
        fit_selector(
            x, y, selector=Fixed(), predictor=Told(), way="together", sparsity=0.5, steps=150, batch=64, progress=False
        )
    finally:
        torch.optim.Adam = adam
    found = -torch.stack(grads).mean(dim=0)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0.05)


def test_hidden_features_are_replaced():
    kept = torch.tensor([[True, False]])
    assert conceal(torch.tensor([[5, 6]]), kept, 1).tolist() == [[5, 1]]
    assert conceal(torch.ones(1, 2, 3), kept, 0.5).tolist() == [[[1.0] * 3, [0.5] * 3]]


def test_given_networks_stay_and_the_same_seed_gives_the_same(evaluator):
    x, y, _ = switched(200)
    given, states = (network(8, seed=1), network(2, seed=2)), []
    before = [p.clone() for net in given for p in net.parameters()]
    drawn = torch.get_rng_state()
    for _ in range(2):
        found = fit_selector(x, y, selector=given[0], predictor=given[1], steps=5, progress=False)
        states.append(torch.cat([p.flatten() for p in found.network.parameters()]))
    assert all((a == b).all() for a, b in zip(before, (p for net in given for p in net.parameters()), strict=True))
    assert (states[0] == states[1]).all() and (torch.get_rng_state() == drawn).all()


def test_a_given_predictor_stays_as_it_is(evaluator):
    x, y, _ = switched(200)
    options = {"selector": network(8, seed=1), "sparsity": 0.8, "steps": 20, "progress": False}
    found = fit_selector(x, y, predictor=evaluator, way="given", **options)
    assert all((a == b).all() for a, b in zip(found.predictor.parameters(), evaluator.parameters(), strict=True))
    moved = fit_selector(x, y, predictor=evaluator, way="together", **options)
    pairs = zip(moved.predictor.parameters(), evaluator.parameters(), strict=True)
    assert not all((a == b).all() for a, b in pairs)


def test_a_price_that_grows_is_nothing_at_first():
    x, y, _ = switched(200)
    options = {"selector": network(8, seed=1), "predictor": network(2), "way": "together", "progress": False}

    def kept(**price):
        return fit_selector(x, y, **price, **options).probabilities(x)

    free = kept(steps=1, sparsity=0.0)
    assert (kept(steps=1, sparsity=5.0, growth=1.0) == free).all()
    assert kept(steps=1, sparsity=5.0).mean() < free.mean()
    assert kept(steps=12, sparsity=5.0, growth=0.5).mean() < kept(steps=12, sparsity=0.0).mean()


def test_what_is_refused(apart, evaluator):
    x, y, _ = switched(20)
    nets = {"selector": network(8), "predictor": network(2), "progress": False}
    with pytest.raises(InputError, match="way 'both' is unknown"):
        fit_selector(x, y, way="both", **nets)
    with pytest.raises(InputError, match="growth is 2: expected a share"):
        fit_selector(x, y, growth=2, **nets)
    with pytest.raises(InputError, match="draws 1"):
        fit_selector(x, y, draws=1, **nets)
    with pytest.raises(InputError, match="3 groups for 20 items"):
        check_selection(apart, evaluator, x, y, np.arange(3))
