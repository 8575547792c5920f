"""Steps: which moment of a training run a reference names, and which run."""

from __future__ import annotations

import re

_WORDS = "step|checkpoint|ckpt|iteration|iter|epoch|update"
# A number that stands alone between marks: not the 70 of pythia-70m, the 2 of gpt2 or the 0.5 of qwen-0.5b.
_ALONE = r"(?<![A-Za-z0-9.])\d+(?![A-Za-z0-9]|\.\d)"
_NAMED = re.compile(rf"(?:{_WORDS})s?[-_= ]?(\d+)(?![A-Za-z0-9]|\.\d)", re.IGNORECASE)
_OTHER = re.compile(r"(?:seed|run|rank|part|version|v|of|layers?|size)[-_= ]?$", re.IGNORECASE)
_SEED = re.compile(r"zoo:[^@]*(@\d*)?")


def split_step(ref: str) -> tuple[str, int | None]:
    """The run that a reference is a checkpoint of, and its step: ``("runs/a/step-*", 1000)`` of ``runs/a/step-1000``.

    The step is the number after a word such as step, checkpoint or epoch, the last of them; else the one number that
    stands alone in the last part of the path or in the revision (``org/name@1000``). Seeds, versions and sizes are no
    steps. A name without one is its own run, and its step is None.

    >>> split_step("org/pythia-70m@step3000")
    ('org/pythia-70m@step*', 3000)
    >>> split_step("zoo:factored@2")
    ('zoo:factored@2', None)
    """
    if _SEED.fullmatch(ref):
        return ref, None
    start = max(ref.rstrip("/").rfind("/"), ref.rfind("@")) + 1
    named = list(_NAMED.finditer(ref, start)) or list(_NAMED.finditer(ref))
    if named:
        return _cut(ref, named[-1].span(1))
    alone = [m.span() for m in re.finditer(_ALONE, ref) if m.start() >= start]
    if len(alone) != 1 or _OTHER.search(ref[: alone[0][0]]):
        return ref, None
    return _cut(ref, alone[0])


def _cut(ref: str, where: tuple[int, int]) -> tuple[str, int]:
    return f"{ref[: where[0]]}*{ref[where[1] :]}", int(ref[slice(*where)])
