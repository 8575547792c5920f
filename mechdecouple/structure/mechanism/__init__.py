"""Mechanism: whether two models come to the same answers by the same parts and over the same variables.

`compare_mechanisms` measures two models and judges them on both axes; what it rests on can be had alone: the causal
profile of parts and paths, signatures free of basis, stitching, and interchange of a concept's directions.
"""

from mechdecouple.structure.mechanism.compare import MechanismComparison, compare_mechanisms
from mechdecouple.structure.mechanism.component import Component
from mechdecouple.structure.mechanism.components import components, latent, units
from mechdecouple.structure.mechanism.cost import MechanismCost, mechanism_cost
from mechdecouple.structure.mechanism.evidence import Evidence
from mechdecouple.structure.mechanism.interchange import interchange
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap, interchanges
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.paths import Paths, paths
from mechdecouple.structure.mechanism.profile import CausalProfile, causal_profile
from mechdecouple.structure.mechanism.profile_distance import ProfileDistance, profile_distance
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.shared_variables import SharedVariables, shared_variables
from mechdecouple.structure.mechanism.signatures import Signature, contrast, signature
from mechdecouple.structure.mechanism.stitched import Stitching
from mechdecouple.structure.mechanism.stitching import plan_stitching, stitch
from mechdecouple.structure.mechanism.units import Census, census
from mechdecouple.structure.mechanism.verdict import AxisVerdict, judge

__all__ = [
    "AxisVerdict",
    "CausalProfile",
    "Census",
    "Component",
    "Evidence",
    "InterchangeMap",
    "MechanismComparison",
    "MechanismCost",
    "OptionLogits",
    "Paths",
    "ProfileDistance",
    "Rig",
    "SharedVariables",
    "Signature",
    "Stitching",
    "causal_profile",
    "census",
    "compare_mechanisms",
    "components",
    "contrast",
    "interchange",
    "interchanges",
    "judge",
    "latent",
    "mechanism_cost",
    "paths",
    "plan_stitching",
    "profile_distance",
    "shared_variables",
    "signature",
    "stitch",
    "units",
]
