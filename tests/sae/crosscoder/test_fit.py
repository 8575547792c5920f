import pytest
import torch

from mechdecouple.sae.crosscoder import _fit
from mechdecouple.sae.crosscoder._fit import Fitter


def _fitter(m=64, d_a=6, d_b=9, k=3, dead=(), restricted=False, **options):
    allowed = torch.ones(m, d_a + d_b, dtype=torch.bool)
    if restricted:
        allowed[m // 2 :, :d_a] = False
    options = {"l1": 1.5, "learning_rate": 1e-3, "steps": 100, "patience": 10} | options
    fitter = Fitter(allowed, d_a=d_a, k=k, generator=torch.Generator().manual_seed(0), **options)
    draw = torch.Generator().manual_seed(1)
    fitter.bias += 0.1 * torch.randn(m, generator=draw)
    fitter.centre += 0.1 * torch.randn(d_a + d_b, generator=draw)
    fitter.encoder += 0.1 * torch.randn(m, d_a + d_b, generator=draw).t() * allowed.t()
    fitter._silent[list(dead)] = 99
    return fitter, torch.randn(20, d_a + d_b, generator=draw)


def _loss(fitter, rows, dead):
    """The loss in words of automatic differentiation: selections are constants, everything else is not."""
    d_a = fitter.d_a
    norms = fitter.decoder[:, :d_a].norm(dim=1) + fitter.decoder[:, d_a:].norm(dim=1)
    codes = torch.relu((rows - fitter.centre) @ fitter.encoder + fitter.bias)
    scores = (codes * norms).detach()
    if fitter.k is None:
        penalty = fitter.l1 * min(1, 10 * fitter.step_number / fitter.steps) * (codes * norms).sum() / len(rows)
        return (codes @ fitter.decoder + fitter.centre - rows).square().sum() / len(rows) + penalty
    kept = scores >= scores.flatten().sort().values[-fitter.k * len(rows)]
    error = (codes * kept) @ fitter.decoder + fitter.centre - rows
    loss = error.square().sum() / len(rows)
    if len(dead):
        dead = torch.tensor(dead)
        fixed = (rows - fitter.centre.detach()) @ fitter.encoder[:, dead] + fitter.bias[dead]
        share = min(1.0, 2 * len(dead) / rows.shape[1]) / 32
        wanted = min(len(dead), rows.shape[1] // 2)
        helped = torch.relu(fixed) * (scores[:, dead] >= scores[:, dead].topk(wanted).values.amin(1, keepdim=True))
        loss = loss + share * (helped @ fitter.decoder[dead] + error.detach()).square().sum() / len(rows)
    return loss


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dead", [(), (1, 2, 40), tuple(range(20, 40))])
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.parametrize("m", [64, 51])
def test_gradients_with_k_equal_automatic_ones(sparse, dead, restricted, m, monkeypatch):
    monkeypatch.setattr(_fit, "_SPARSE", 1 if sparse else 1000)
    if not sparse:  # the way of other devices
        monkeypatch.setattr(
            Fitter, "_sparse", lambda self, x, codes, n: self._dense(x, codes * _fit._largest(codes * n, 3), n, 0.0)
        )
    fitter, rows = _fitter(m, dead=dead, restricted=restricted)
    _compare(fitter, rows, dead)


@pytest.mark.parametrize("step", [0, 5, 50])
def test_gradients_with_a_penalty_equal_automatic_ones(step):
    fitter, rows = _fitter(k=None)
    fitter.step_number = step
    _compare(fitter, rows, ())


def _compare(fitter, rows, dead):
    twin, _ = _fitter(len(fitter.bias), k=fitter.k, dead=dead, restricted=not fitter._whole)
    twin.step_number = fitter.step_number
    for parameter in twin.parameters:
        parameter.requires_grad_()
    loss = _loss(twin, rows, dead)
    expected = torch.autograd.grad(loss, twin.parameters)
    found = fitter.gradients(rows)
    assert float(fitter.loss) == pytest.approx(float(loss.detach()), rel=1e-5)
    masks = (fitter.allowed, fitter.allowed.t(), 1, 1)
    for mine, theirs, allowed in zip(found, expected, masks, strict=True):
        torch.testing.assert_close(mine, theirs * allowed, rtol=1e-5, atol=1e-5)


def test_what_is_not_allowed_stays_zero():
    fitter, rows = _fitter(restricted=True, dead=range(40, 64))
    for _ in range(5):
        fitter.step(rows)
    assert not fitter.decoder[32:, :6].any()
    assert not fitter.encoder[:6, 32:].any()
    assert fitter.decoder[32:, 6:].any()


def test_as_many_are_active_as_asked():
    fitter, rows = _fitter()
    fitter.step(rows)
    assert fitter.active == 3 * len(rows)
