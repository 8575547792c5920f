import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.faithfulness import BINS, Maskable, aopc, attribute, masking_curve, rationales
from mechdecouple.faithfulness.curves import Curve
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

MASK = 1


@pytest.fixture(scope="module")
def subject(words):
    return Maskable(*words[:2], mask=MASK)


def certain(scale=4.0):
    """Probability of the chosen option: a word worth 1 of 7, read by the logits scale and -scale."""
    return 1 / (1 + np.exp(-2 * scale / 7))


def test_the_right_order_takes_all_with_the_first_word(subject, words):
    used = np.array(words[2]).astype(float)
    curve = masking_curve(subject, used, ratios=np.linspace(0, 1, 8))
    np.testing.assert_allclose(curve.probability[0], certain(), atol=1e-5)
    np.testing.assert_allclose(curve.probability[1:], 0.5, atol=1e-5)
    last = masking_curve(subject, -used, ratios=np.linspace(0, 1, 8))
    np.testing.assert_allclose(last.probability[:7], certain(), atol=1e-5)
    assert (curve.correct[0] == 1).all()


def test_rationales_in_closed_form(subject, words):
    without, alone = rationales(subject, np.array(words[2]).astype(float), BINS)
    assert without.shape == (len(BINS), 80)
    np.testing.assert_allclose(without, 0.5, atol=1e-5)
    np.testing.assert_allclose(alone, certain(), atol=1e-5)
    drops = certain() - without
    np.testing.assert_allclose(aopc(drops), certain() - 0.5, atol=1e-5)
    # the wrong way round: 4 of 7 words, rounded up from half, and still not the one that counts
    without, alone = rationales(subject, -np.array(words[2]).astype(float), BINS)
    np.testing.assert_allclose(without, certain(), atol=1e-5)
    np.testing.assert_allclose(alone, 0.5, atol=1e-5)


def test_explaining_anew_finds_what_a_first_word_hides():
    """A second copy of the number that counts: alone neither matters, together they do."""

    class Either(nn.Module):
        def forward(self, x):
            high = torch.maximum(x[:, 0], x[:, 1])[:, None]
            return torch.cat([high, -high], dim=1) + 0.01 * torch.cat([x[:, 2:3], -x[:, 2:3]], dim=1)

    x = np.tile(np.array([[1.0, 1.0, 0.9, 0.9], [-1.0, -1.0, -0.9, -0.9]], np.float32), (10, 1))
    task = Task.from_frame(pd.DataFrame({"answer": np.arange(20) % 2}), inputs=x, performance="class", name="either")
    subject = Maskable(wrap(Either(), name="either"), task)
    first = np.flatnonzero(subject.chosen == 0)
    ratios = (0.0, 0.25, 0.5, 0.75, 1.0)
    once = masking_curve(subject, "leave_one_out", ratios=ratios)
    anew = masking_curve(subject, "leave_one_out", ratios=ratios, recursive=True)
    values = attribute(subject, "leave_one_out")[first]
    assert (values.argmax(axis=1) == 2).all() and np.allclose(values[:, :2], 0)
    assert anew.probability[:, first].mean() < once.probability[:, first].mean() - 0.02
    for curve in (once, anew):
        np.testing.assert_allclose(curve.probability[-1], curve.probability[-1, 0], atol=1e-5)


def test_masks_grow_along_a_curve_that_explains_anew(subject):
    once = masking_curve(subject, "leave_one_out")
    anew = masking_curve(subject, "leave_one_out", recursive=True)
    # words do not interact here: explaining anew changes nothing
    np.testing.assert_allclose(once.probability, anew.probability, atol=1e-5)


def test_mean_of_curves(subject):
    rng = np.random.default_rng(0)
    both = [masking_curve(subject, rng.random(subject.maskable.shape)) for _ in range(2)]
    mean = Curve.mean(both)
    np.testing.assert_allclose(mean.probability, (both[0].probability + both[1].probability) / 2)
    np.testing.assert_allclose(mean.correct, (both[0].correct + both[1].correct) / 2)


def test_ratios_are_checked(subject):
    with pytest.raises(InputError, match="must rise from 0 to 1"):
        masking_curve(subject, "leave_one_out", ratios=(0.0, 0.5))
