"""A job of tiny nets whose behaviour files decide: some raise, wait, or kill the process that they run in."""

import multiprocessing
import textwrap
import uuid
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.executors import processes

NETS = """
    import os, signal, time
    import torch
    from torch import nn

    HERE = os.path.dirname(__file__)

    class Net(nn.Module):
        def __init__(self, seed, before=None):
            super().__init__()
            draws = torch.Generator().manual_seed(seed)
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)
            self.before, self.passes = before, 0
            with torch.no_grad():
                for p in self.parameters():
                    p.copy_(torch.randn(p.shape, generator=draws))

        def forward(self, x):
            self.passes += 1
            if self.before is not None:
                self.before(self.passes)
            return self.second(torch.relu(self.first(x)))

    def flag(name):
        return os.path.exists(os.path.join(HERE, name))

    def raise_flag(name):
        open(os.path.join(HERE, name), "w").close()

    def kill_once(passes):
        if passes == 3 and not flag("killed"):
            raise_flag("killed")
            os.kill(os.getpid(), signal.SIGKILL)

    def kill_always(passes):
        if passes == 2 and not flag("mended"):
            os.kill(os.getpid(), signal.SIGKILL)

    def poison(passes):
        if passes == 2 and not flag("mended"):
            raise RuntimeError("a poisoned <net>")

    def tell_gpu(passes):
        raise_flag("gpu-" + os.environ.get("CUDA_VISIBLE_DEVICES", "none"))

    def slow(passes):
        raise_flag(f"slow-{os.getpid()}")
        while not flag("released"):
            time.sleep(0.01)

    def one(): return Net(1)
    def two(): return Net(2)
    def three(): return Net(3)
    def four(): return Net(4)
    def killed(): return Net(5, kill_once)
    def deadly(): return Net(6, kill_always)
    def poisoned(): return Net(7, poison)
    def seeing(): return Net(11, tell_gpu)
    def slowly(): return Net(8, slow)
    def slowly_too(): return Net(9, slow)
    def slowly_as_well(): return Net(10, slow)
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Folder ``here`` of the nets and their task; ``job(names, **entries)``; ``flag(name)`` raises one."""
    here, module = tmp_path / "nets", f"nets_{uuid.uuid4().hex}"
    here.mkdir()
    (here / f"{module}.py").write_text(textwrap.dedent(NETS))
    x = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    np.save(here / "x.npy", x)
    table = {"id": [f"x{i}" for i in range(80)], "answer": (x[:, 0] > 0).astype(int), "group": np.arange(80) // 2}
    pd.DataFrame(table).to_csv(here / "items.csv", index=False)
    monkeypatch.syspath_prepend(str(here))

    def job(names, stages=("extract",), compare=None, **entries):
        options = {"inputs": str(here / "x.npy"), "families": [], "batch_tokens": 16, **(compare or {})}
        models = [f"{module}:{name}" for name in names.split()]
        return make_job(
            {
                "models": models,
                "tasks": [str(here / "items.csv")],
                "stages": list(stages),
                "compare": options,
                **entries,
            }
        )

    return SimpleNamespace(here=here, job=job, flag=lambda name: (here / name).touch())


@pytest.fixture
def cheap_processes(monkeypatch):
    """Processes that branch off from one that has imported everything, in place of each importing it anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mechdecouple.jobs.work"])
    monkeypatch.setattr(processes, "_CONTEXT", context)
    return context


@pytest.fixture(scope="session")
def tree():
    """Every file of a store's finished units and its bytes, but for notes of when it was made and how fast."""

    def read(folder):
        files = [p for p in (folder / "units").rglob("*") if p.is_file() and p.name != "times.json"]
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    return read
