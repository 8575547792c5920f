"""Unit: a piece of work that gives the same files wherever and whenever it is done, named by what it needs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from mechdecouple.jobs.config import Stage

FORMAT = 1
"""Goes up when the same needs come to give other files."""


@dataclasses.dataclass(frozen=True)
class Unit:
    """One extraction, one set of sparse autoencoders, or one comparison.

    Attributes:
        stage: ``extract``, ``sae`` or ``compare``.
        spec: everything the result depends on: hashes of models and tasks, options, threads. JSON.
        where: where to find what ``spec`` names by hash (references as the job gave them); no part of the key.
        needs: keys of units whose results this one reads.
        label: for people.
    """

    stage: Stage
    spec: Mapping[str, Any]
    where: Mapping[str, str]
    needs: tuple[str, ...] = ()
    label: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of stage and spec, 32 hexadecimal digits."""
        text = json.dumps([FORMAT, self.stage, self.spec, self.needs], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"key": self.key, **dataclasses.asdict(self), "needs": list(self.needs)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Unit:
        """Back from its record."""
        fields = {f.name: record[f.name] for f in dataclasses.fields(cls)}
        return cls(**{**fields, "needs": tuple(fields["needs"])})
