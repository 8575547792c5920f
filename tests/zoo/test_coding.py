import numpy as np
import pytest
import torch

from mechdecouple.zoo.coding import arm_loss, coding_vectors


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
