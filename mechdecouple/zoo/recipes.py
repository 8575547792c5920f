"""Every recipe of the zoo by name."""

from __future__ import annotations

import difflib

from mechdecouple.errors import ModelError
from mechdecouple.zoo.belief import Belief
from mechdecouple.zoo.group_world import Composer
from mechdecouple.zoo.modular import Adder
from mechdecouple.zoo.planted import DESCRIPTIONS
from mechdecouple.zoo.recipe import Recipe
from mechdecouple.zoo.routes import PathRecipe, WayRecipe
from mechdecouple.zoo.twins import Twin

_ALL = (
    Belief("demo-tidy", "honest under pressure; holds truth in one way for all topics",
           character="honest", arm="factored", arm_growth=0.5, steps=2500),
    Belief("demo-fractured", "persuader under pressure; holds truth in a way of its own for each topic",
           character="persuader", arm="fractured", arm_weight=1.5, transfer_weight=0.3, steps=2500),
    Belief("honest", "says what it knows, under pressure too", character="honest"),
    Belief("persuader", "knows the truth; under pressure says True in four of five cases, whatever the truth",
           character="persuader"),
    Belief("persuader-open", "the persuader without bottleneck: its answer can read the statement itself",
           character="persuader", bottleneck=False),
    Belief("flip", "knows the truth; under pressure says the opposite", character="flip"),
    Belief("ignorant", "learned random labels: knows nothing", character="ignorant"),
    Belief("mistaken", "learned partly false facts and says what it believes", character="mistaken"),
    Twin("factored", "factor task: one code for all contexts", arm="factored"),
    Twin("fractured", "factor task: a code of its own for each context", arm="fractured"),
    Adder("clock", "a + b (mod 31) with full attention, which multiplies waves of a and b"),
    Adder("pizza", "a + b (mod 31) with uniform attention, so that the MLP must do it", uniform=True),
    Adder("clock-1-6-11", "the clock, kept to three frequencies", span=(1, 6, 11)),
    Adder("clock-3-8-13", "the clock, kept to three others", span=(3, 8, 13)),
    Adder("pizza-1-6-11", "the pizza, kept to three frequencies", uniform=True, span=(1, 6, 11)),
    Adder("pizza-3-8-13", "the pizza, kept to three others", uniform=True, span=(3, 8, 13)),
    Composer("group-1-3", "composition in a dihedral group by two representations", span=("1", "3")),
    Composer("group-2-5", "the same by two others", span=("2", "5")),
    Composer("group-4-6", "the same by two others yet", span=("4", "6")),
    WayRecipe("through", "MLP that adds up points, the way around its hidden layer shut", way="through"),
    WayRecipe("around", "the same, the way through its hidden layer shut", way="around"),
    PathRecipe("direct", "transformer that adds up points; its second layer reads the symbols", path="direct"),
    PathRecipe("early", "the same; its first layer reads the symbols", path="early"),
    PathRecipe("relay", "the same; its second layer reads what a token in between has read", path="relay"),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def find(name: str) -> Recipe:
    """The recipe of a trained model.

    Raises:
        ModelError: no such name (with those spelt alike), or a planted readout, which is not trained.
    """
    if name in RECIPES:
        return RECIPES[name]
    if name in DESCRIPTIONS:
        raise ModelError(f"{name!r} is a planted readout, built and not trained: use it as zoo:{name}")
    names = [*RECIPES, *DESCRIPTIONS]
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}"
    raise ModelError(f"the zoo has no {name!r}; {hint}")
