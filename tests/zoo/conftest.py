import numpy as np
import pytest
import torch

from mechdecouple.zoo.recipes import RECIPES


@pytest.fixture
def recipes():
    return RECIPES


@pytest.fixture(scope="session")
def ccgp():
    """Accuracy of a linear readout fitted in all contexts but one and tested in that one, averaged (scikit-learn)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

    def score(x, y, context):
        return cross_val_score(LogisticRegression(max_iter=5000), x, y, groups=context, cv=LeaveOneGroupOut()).mean()

    return score


@pytest.fixture(scope="session")
def run():
    """Logits at the last position [n, v] and activations [n, d] at the bar, of a HookedModel on its task."""

    @torch.no_grad()
    def forward(model, task, hook_point):
        from mechdecouple.models import Batch

        tokens = torch.tensor(model.tokenizer(task.prompts)["input_ids"])
        out = model.forward(Batch(tokens=tokens), capture=[hook_point])
        bar = model.tokenizer.get_vocab()["|"]
        at = (tokens == bar).int().argmax(1)
        return out.logits[:, -1].numpy(), out.activations[hook_point][np.arange(len(tokens)), at].numpy()

    return forward


@pytest.fixture(scope="session")
def margin():
    """Logit of the first choice less that of the second [n]."""

    def of(model, task, logits):
        ids = model.tokenizer.get_vocab()
        first, second = np.array([[ids[a], ids[b]] for a, b in task.choices]).T
        rows = np.arange(len(task))
        return logits[rows, first] - logits[rows, second]

    return of
