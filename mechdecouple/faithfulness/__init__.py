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
from mechdecouple.faithfulness.questions import Questions
from mechdecouple.faithfulness.racu import RACU, acu, racu
from mechdecouple.faithfulness.recovery import RATIONALE_AUROC, rationale_auroc
from mechdecouple.faithfulness.selector import (
    ENCODED,
    SELECTED_ACCURACY,
    SELECTED_SHARE,
    SelectionCheck,
    Selector,
    check_selection,
    fit_evaluator,
    fit_selector,
)
from mechdecouple.faithfulness.self_consistency import SELF_CONSISTENCY, SelfConsistency, Speaker, self_consistency
from mechdecouple.faithfulness.speaker import ModelSpeaker
from mechdecouple.faithfulness.unlike import Unlike, unlike

__all__ = [
    "AOPC_COMPREHENSIVENESS",
    "AOPC_SUFFICIENCY",
    "BINS",
    "COMPREHENSIVENESS",
    "ENCODED",
    "MASF_RATE",
    "METHODS",
    "RACU",
    "RATIONALE_AUROC",
    "RATIOS",
    "SELECTED_ACCURACY",
    "SELECTED_SHARE",
    "SELF_CONSISTENCY",
    "SUFFICIENCY",
    "Curve",
    "Faithfulness",
    "Maskable",
    "ModelSpeaker",
    "Questions",
    "SelectionCheck",
    "Selector",
    "SelfConsistency",
    "Speaker",
    "Unlike",
    "acu",
    "aopc",
    "attribute",
    "check_selection",
    "fit_evaluator",
    "fit_selector",
    "masf",
    "masking_curve",
    "measure",
    "ordered",
    "passes",
    "racu",
    "random_masks",
    "rationale_auroc",
    "rationales",
    "self_consistency",
    "top",
    "unlike",
]
