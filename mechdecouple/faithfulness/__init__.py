"""Whether an explanation tells what the model does: attributions, and what is left when they are masked."""

from mechdecouple.faithfulness.attribution import METHODS, attribute
from mechdecouple.faithfulness.curves import Curve, masking_curve, rationales
from mechdecouple.faithfulness.erasure import (
    AOPC_COMPREHENSIVENESS,
    AOPC_SUFFICIENCY,
    BINS,
    COMPREHENSIVENESS,
    SUFFICIENCY,
    aopc,
)
from mechdecouple.faithfulness.faithfulness import Faithfulness
from mechdecouple.faithfulness.masf import MASF_RATE, masf
from mechdecouple.faithfulness.maskable import Maskable
from mechdecouple.faithfulness.masks import RATIOS, ordered, random_masks, top
from mechdecouple.faithfulness.measure import measure, passes
from mechdecouple.faithfulness.racu import RACU, acu, racu
from mechdecouple.faithfulness.recovery import RATIONALE_AUROC, rationale_auroc
from mechdecouple.faithfulness.unlike import Unlike, unlike

__all__ = [
    "AOPC_COMPREHENSIVENESS",
    "AOPC_SUFFICIENCY",
    "BINS",
    "COMPREHENSIVENESS",
    "MASF_RATE",
    "METHODS",
    "RACU",
    "RATIONALE_AUROC",
    "RATIOS",
    "SUFFICIENCY",
    "Curve",
    "Faithfulness",
    "Maskable",
    "Unlike",
    "acu",
    "aopc",
    "attribute",
    "masf",
    "masking_curve",
    "measure",
    "ordered",
    "passes",
    "racu",
    "random_masks",
    "rationale_auroc",
    "rationales",
    "top",
    "unlike",
]
