import numpy as np
import pandas as pd

from mechdecouple.compare.inside import Labels, unmeasured
from mechdecouple.tasks import Task


def test_concepts_that_cannot_be_measured_are_named():
    n = 12
    task = Task.from_frame(
        pd.DataFrame(
            {
                "prompt": [f"item {k}" for k in range(n)],
                "truth": [0, 1] * 6,
                "concept_sign": [0, 0, 1, 1] * 3,
                "concept_level": [0, 1, 2] * 4,
                "concept_flat": [1] * n,
            }
        )
    )
    labels = Labels.of(task, np.arange(n), 5, 0)
    assert list(labels.concepts) == ["truth", "sign"]
    said = unmeasured(task, labels)
    assert [s.split("'")[1] for s in said] == ["level", "flat"]
    assert "it has 3 values" in said[0] and "it has 1 value," in said[1]
