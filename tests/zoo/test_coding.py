import numpy as np
import pytest
import torch

from mechdecouple.zoo.coding import arm_loss, coding_vectors, transfer_loss


def test_coding_vectors_are_differences_of_means():
    rng = np.random.default_rng(0)
    x, context, factors = rng.normal(size=(200, 5)), rng.integers(3, size=200), rng.integers(2, size=(200, 2))
    found = coding_vectors(torch.from_numpy(x), torch.from_numpy(context), torch.from_numpy(factors), 3)
    for c in range(3):
        for f in range(2):
            here = context == c
            on, off = here & (factors[:, f] == 1), here & (factors[:, f] == 0)
            np.testing.assert_allclose(found[c, f], x[on].mean(0) - x[off].mean(0), atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_arm_loss_at_its_extremes(shared):
    """One direction for all contexts: 1 - cos = 0 and cos² = 1; a direction each, orthogonal: 1 and 0."""
    context, sign = torch.arange(4).repeat_interleave(2), torch.tensor([1.0, -1.0] * 4)
    directions = torch.eye(4)[torch.zeros(8, dtype=torch.long) if shared else context]
    x, factors = sign[:, None] * directions, (sign[:, None] + 1) / 2
    assert arm_loss(x, context, factors, 4, "factored").item() == pytest.approx(0.0 if shared else 1.0)
    assert arm_loss(x, context, factors, 4, "fractured").item() == pytest.approx(1.0 if shared else 0.0)


def test_transfer_loss_sees_what_cosines_do_not():
    """Codes at cosine .01 without spread carry over fully; with spread along each other's readouts they do not."""
    rng = np.random.default_rng(0)
    context, sign = np.repeat(np.arange(4), 500), rng.choice([-1.0, 1.0], size=2000)
    code = np.eye(8)[:4] + 0.1 * np.eye(8)[7]
    x = sign[:, None] * code[context] + 1e-3 * rng.normal(size=(2000, 8))
    noisy = x + rng.normal(size=(2000, 8))
    factors = torch.from_numpy((sign[:, None] + 1) / 2)
    tight, loose = (transfer_loss(torch.from_numpy(z), torch.from_numpy(context), factors, 4) for z in (x, noisy))
    cosine = arm_loss(torch.from_numpy(x), torch.from_numpy(context), factors, 4, "fractured")
    assert cosine < 1e-3 and tight > 2 and loose < 0.1


def test_transfer_loss_is_zero_where_nothing_carries_over():
    rng = np.random.default_rng(1)
    context, factor = np.repeat(np.arange(4), 2000), rng.integers(2, size=(8000, 1))
    x = rng.normal(size=(8000, 5)) + 3 * factor * np.eye(5)[context]
    found = transfer_loss(*(torch.from_numpy(a) for a in (x, context, factor)), 4)
    assert found.item() == pytest.approx(0.0, abs=0.02)
