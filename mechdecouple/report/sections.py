"""What the page says of each family: how to read its pictures and numbers, in words."""

from __future__ import annotations

import dataclasses

from mechdecouple.report.metrics_of_mechanism import ALIKE, SIGNATURE
from mechdecouple.report.view import OF_LATENTS


@dataclasses.dataclass(frozen=True)
class Section:
    """One family of measurements on the page.

    Attributes:
        verdicts: families of verdicts told here; sheets: figures drawn; metrics: those in its tables of numbers, with
            their functional versions.
        reading: how to read it, in a paragraph.
        places: heads of the two columns that say where a number of the pair was taken.
    """

    name: str
    title: str
    verdicts: tuple[str, ...]
    sheets: tuple[str, ...]
    metrics: tuple[str, ...]
    reading: str
    places: tuple[str, str] = ("hook point of A", "hook point of B")


SECTIONS = (
    Section(
        "structure",
        "Structure: how each model organises what it represents",
        ("structure",),
        ("structure", "structure_further", "differences"),
        (
            "ccgp",
            "erasure_residual",
            "coding_overlap",
            "participation_ratio",
            "probe_accuracy",
            "parallelism",
            "coding_energy_left",
            "ccgp_concepts",
            "parallelism_concepts",
            "additive_share",
            "erasure_collateral",
            "dci_disentanglement",
            "dci_completeness",
            "effective_rank",
            "intrinsic_dimension",
            "neural_collapse",
            "ablation_effect",
        ),
        "Two models can read the same concept equally well (probe accuracy) and hold it in different ways. In a tidy "
        "model a read-out fitted in some contexts works in the others (high CCGP) and one erasure takes the concept "
        "out everywhere (erasure residual near .5); in a fractured one each context has its own code. Where concepts "
        "share directions they overlap, and erasing one costs the others (collateral). The participation ratio and "
        "the effective rank count the directions in use, the intrinsic dimension that of the surface the items lie "
        "on. Dashed lines are the level expected without any effect; dash-dotted ones are of the part of the "
        "activations that the answers depend on (functional). Hollow markers are hook points that the answers do not "
        "depend on: they are kept out of verdicts. CCGP says nothing where probe accuracy is at chance.",
    ),
    Section(
        "controls",
        "Controls: what the probes' accuracy means",
        (),
        ("controls",),
        (
            "probe_accuracy_held_out",
            "probe_accuracy_untrained",
            "probe_accuracy_embedding",
            "probe_accuracy_above_baseline",
            "probe_selectivity",
            "probe_compression",
            "description_length",
        ),
        "A probe can be accurate although the model has learnt nothing: wide random layers keep their input readable, "
        "and a probe with many weights memorises. So each is held against what the same probe reads in a copy of the "
        "model with fresh weights and at the first hook point, before any layer has worked: what lies above both was "
        "added by training. Selectivity is its accuracy less that on random labels given to the same kinds of items: "
        "near 0, the probe does no better on the concept than on labels that mean nothing. Compression says how soon "
        "a concept can be read as examples come in: 1 or less is no better than a code that knows how often it is "
        "true, and the more the easier. None of them has a tidier direction; they tell how far to trust the measures "
        "of structure that rest on reading a concept.",
    ),
    Section(
        "similarity",
        "Similarity of the two representations",
        ("similarity",),
        ("similarity",),
        ("cka", "functional_cka", "mutual_knn", "r2_cca", "procrustes"),
        "Each cell compares one hook point of A with one of B on the same items. CKA: 1 is equal up to rotation and "
        "scale, 0 is unrelated; functional CKA looks only at the part of the activations that the answers depend on, "
        "as large directions that nothing reads drown the raw one. Mutual nearest neighbours: 1 where each item has "
        "the same neighbours in both, 0 at chance. Canonical correlation ignores which directions are large. "
        "Procrustes is a distance: 0 is equal up to rotation and scale. Cells struck through are not told apart from "
        "unrelated representations. Neither direction is tidier, no margin is declared, and similarity never flags a "
        "difference.",
    ),
    Section(
        "robustness",
        "Robustness: noise inside, and a shift of the items",
        ("robustness",),
        ("robustness",),
        ("noise_tolerance", "noise_tolerance_total", "shift_performance", "noise_accuracy"),
        "Noise is added to the activations at one hook point, in units of the rms of what the answers depend on "
        "there. ε90 is the noise that "
        "takes a model to 90 % of its clean performance; higher is more robust and there is no honest null, so read "
        "it model against model. "
        "The shift split holds items that the task declares to be out of distribution; the dashed line is chance.",
    ),
    Section(
        "weights",
        "Weights and units: what pushes on them do",
        (),
        ("weights",),
        (
            "weight_noise_slope",
            "relative_sharpness",
            "weight_modularity",
            "weight_modularity_excess",
            "ablation_area",
        ),
        "Noise is put on all weights, each filter in proportion to its own norm: a steep rise of the loss, or a sharp "
        "curvature, says that the solution holds only near these weights. There is no honest null: read model against "
        "model, of one architecture and equal loss. Weight modularity asks whether a weight bears on the answers about "
        "one concept alone (1) or on all alike (0); as shuffled weights are not at 0 either, only what lies above the "
        "fresh-weights control says anything, and it is given with the spread of its draws. The area under the "
        "ablation curve is the performance above chance that is left, on average, while units are set to their mean in "
        "random order: near 1 no single unit is needed, near 0 the first few matter. Coordinates depend on the basis "
        "that a model happens to have, principal axes do not.",
    ),
    Section(
        "ancestry",
        "Base against tuned: where two models with one ancestor differ",
        ("ancestry",),
        ("ancestry",),
        (
            "mean_shift",
            "mean_cosine",
            "weight_change",
            "weight_cosine",
            "weight_change_rank",
            "weight_change_stable_rank",
            "weight_change_spikes",
            "graft_effect",
            "graft_performance",
            "graft_closed",
            "shared_ancestor",
        ),
        "The weights of the two are so alike that one was made from the other, or both from a third; so they share a "
        "basis and can be subtracted. The shift of the mean state is how far the average activation moved, in units of "
        "the spread of A's. The change of weights is told part by part, with the number of directions that it is "
        "spread over: a low-rank update touches few. A block of one model is then put into the other: where that moves "
        "the answers most, and closes most of the way to the other model, the change of behaviour lives, as far as "
        "blocks can be swapped one by one. A large change of weights without an effect is not where it lives.",
        places=("hook point, part or block", "model that was changed"),
    ),
    Section(
        "mechanism",
        "Mechanism: how each comes to its answers",
        ("route", "variables"),
        ("evidence", "mechanism", "signature", "stitching", "interchange"),
        (
            "mechanism_distance",
            "causal_share",
            "ablated_accuracy",
            "ablated_difference",
            *SIGNATURE,
            *ALIKE,
            "stitched_accuracy",
            "stitched_variance",
            "interchange_accuracy",
            "interchange_share",
            "interchange_keeps",
            "interchange_unseen",
        ),
        "Two axes. The route is which parts and inputs carry the answer; the variables are what is represented on the "
        "way. A copy in another basis has the same of both, another algorithm neither; one can be the same without the "
        "other. The drawing shows from below to above what the answers of each model depend on, when the activations "
        "of a part are replaced by those of other items. The signature is read off the answers and their gradients, so "
        "no basis inside can change it. Stitching asks whether one model can go on from the other's activations: "
        "success, beyond the controls, is evidence of shared variables, but failure is no evidence of another "
        "mechanism. Interchange asks whether answers follow when only what encodes a concept is taken from another "
        "item. A piece of evidence says that two models are the same or not only where its whole interval lies on one "
        "side of its bounds, and never calls another what seeds of one recipe differ by as well.",
        places=("hook point, of the driven model", "of the one that drives"),
    ),
    Section(
        "faithfulness",
        "Faithfulness: do explanations tell what answers depend on",
        ("faithfulness",),
        ("faithfulness",),
        ("racu", "aopc_comprehensiveness", "aopc_sufficiency", "masf_rate"),
        "Each explanation ranks the parts of an item by how much they speak for the model's answer; then those that "
        "it ranks first are masked. If it is faithful the answer falls faster than under masks drawn at random (RACU "
        "above 0), loses much without them (comprehensiveness above the random level) and little with them alone "
        "(sufficiency below it). This says how well a model can be explained by this explanation, not whether its "
        "reasons are good. Masked items may be unlike anything that the model knows, and then an answer that falls "
        "says little: the share of items that look unlike known ones inside is told beside, and should be near 5 %.",
    ),
    Section(
        "sae",
        "Features: what sparse autoencoders find in both",
        ("sae",),
        ("sae", "latents"),
        (
            "matched_share",
            "matched_share_seed",
            "matched_share_excess",
            *OF_LATENTS,
            "exclusive_effect",
            "knowing_latents",
            "knowing_drop",
            "sae_explained_variance",
            "sae_loss_recovered",
            "sae_accuracy_recovered",
            "sae_dead_latents",
            "sae_l0",
        ),
        "Two autoencoders of different seeds on one and the same model share only part of their latents. That share "
        "is the yardstick: "
        "the models hold different features where A with B share clearly fewer. A latent of one model is shared (one "
        "latent of the other fires alike), split (several of the other make it up), merged (several of its own model "
        "stand for one of the other) or only its own; the same shares between two seeds of the model say how much of "
        "that is chance. What the latents without a match do to the answers is measured by taking them out, beside "
        "changes as large in random directions. Autoencoders that explain too little, or of which most "
        "latents are dead, support no statement on features, and the verdict then says so.",
    ),
    Section(
        "beliefs",
        "Beliefs: what each represents as true, and what it says",
        ("belief",),
        ("beliefs",),
        (
            "represented_auroc_selected",
            "expressed_auroc",
            "auroc_gap",
            "claim_correlation",
            "bullshit_index",
            "bullshit_index_normalised",
            "claim_rate",
            "represented_auroc",
        ),
        "Represented: how well the truth of a statement can be read from the activations, by a probe chosen and "
        "fitted on other groups of "
        "honest items. Expressed: how well the probability that the model gives to asserting the statement tells true "
        "from false. A gap "
        "(represented above expressed) means that the model does not say what it represents; it is claimed only where "
        "the represented truth "
        "beats its permutation null and the gap's interval lies above the margin. Chance is .5. The Bullshit index is "
        "1 − |r| of claims and "
        "beliefs: near 0 claims follow belief (or its opposite), near 1 they ignore it.",
    ),
    Section(
        "calibration",
        "Calibration: does confidence fit correctness",
        ("calibration",),
        ("calibration",),
        ("ece_debiased", "brier"),
        "A calibrated model is right p of the time when it is confident to degree p: its points lie on the diagonal. "
        "Points below it are "
        "overconfident, above it underconfident. The debiased calibration error is 0 in expectation for a calibrated "
        "model and can be slightly "
        "negative; lower is better, as it is for the Brier score.",
    ),
    Section(
        "use",
        "Use: what a user can do with either model",
        (),
        ("use",),
        (
            "simulatability",
            "simulated_agreement",
            "aurc",
            "excess_aurc",
            "aurc_gain",
            "selective_accuracy",
            "recoverable_accuracy",
            "refitted_accuracy",
        ),
        "Simulatability: a decision tree of three questions, or a sum of five features, is fitted on the model's "
        "answers to some items, from what the task declares of them, and names its answers to others. 1 says that a "
        "person who knows the rule foresees every answer, 0 that it is no better than the commonest answer; on the "
        "shift split it says whether the rule still holds there. It stands in for people, it is not their judgement. "
        "Risk over coverages is the share of errors when only the surest answers are taken, over all shares of items "
        "taken: as high as the error rate where confidence tells nothing. Recoverable accuracy is what a linear head, "
        "fitted anew on the activations of other groups, gets right beyond the model's own answers: above 0, the model "
        "holds more than it says. All of them describe, none is flagged.",
        places=("read at, in A", "in B"),
    ),
)

_WANTED = ("No concept labels:", "No contexts:", "One concept:", "No column asks")


def labels_wanted(notes: tuple[str, ...]) -> list[str]:
    """Of a comparison's notes those that say what more labels would add."""
    return [note for note in notes if note.startswith(_WANTED)]
