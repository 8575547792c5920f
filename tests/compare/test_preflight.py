import pytest
import torch
from torch import nn

from mechdecouple import load
from mechdecouple.activations.store import locked
from mechdecouple.compare.preflight import check_stores
from mechdecouple.errors import BusyError
from mechdecouple.extract import extract, plan


@pytest.fixture
def model():
    torch.manual_seed(0)
    return load(nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)), name="net")


def test_finished_activations_are_checked_while_another_comparison_reads_them(model, gaussian_task, tmp_path):
    extract(model, gaussian_task, out=tmp_path / "acts", progress=False)
    todo = plan(model, gaussian_task)
    with locked(tmp_path / "acts"):
        check_stores([(todo, tmp_path / "acts")])
        (tmp_path / "acts" / "shard-00000.safetensors").unlink()
        with pytest.raises(BusyError):
            check_stores([(todo, tmp_path / "acts")])
