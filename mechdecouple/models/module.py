"""Any torch.nn.Module: its named submodules are the hook points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import HookedModel
from mechdecouple.models.batch import Batch
from mechdecouple.models.recorder import Recorder


class PlainModule(HookedModel):
    """A plain module on tensor inputs ``[b, ...]``; its output ``[b, c]`` is the logits.

    Hook points are the outputs of the submodules, named as in ``named_modules()``, each after those it contains. A
    submodule that runs several times in one pass has no single value: capturing or editing it is refused.
    """

    input_kind = "array"
    head = "class"

    def __init__(self, module: nn.Module, *, name: str, ref: str = "") -> None:
        self._module = module.eval()
        self.name, self.ref, self.architecture = name, ref, type(module).__name__
        submodules = dict(_children_first(module, ""))
        if not submodules:
            submodules = {"output": module}
        self._submodules = submodules
        self._widths: dict[str, int] = {}
        self.hook_points = tuple(submodules)
        self.layer_points = tuple(n for n, m in submodules.items() if _is_layer(m)) or self.hook_points

    @property
    def module(self) -> nn.Module:
        return self._module

    def _width(self, hook_point: str) -> int:
        if hook_point not in self._widths:
            raise ModelError(f"the width at {hook_point!r} is known after the first forward pass: run one batch first")
        return self._widths[hook_point]

    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        handles = [self._submodules[n].register_forward_hook(self._hook(n, recorder)) for n in recorder.names]
        try:
            out = self._module(batch.array)
        finally:
            for handle in handles:
                handle.remove()
        if not isinstance(out, Tensor):
            raise ModelError(f"module {self.architecture} returned {type(out).__name__}; expected one tensor [b, c]")
        return out if logits else None

    def _hook(self, name: str, recorder: Recorder) -> Any:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise ModelError(
                    f"hook point {name!r} gives {type(output).__name__}, not a tensor: choose a submodule that does"
                )
            self._widths[name] = output[0].numel()
            # The module goes on with a copy: what follows may change it in place (nn.ReLU(inplace=True)).
            return recorder(name, output).clone()

        return hook


def _children_first(module: nn.Module, prefix: str) -> Any:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        yield from _children_first(child, f"{path}.")
        if not isinstance(child, nn.ModuleList | nn.ModuleDict | nn.Identity):
            yield path, child


def _is_layer(module: nn.Module) -> bool:
    owns = any(True for _ in module.parameters(recurse=False))
    activation = type(module).__module__ == torch.nn.modules.activation.__name__
    return owns or activation
