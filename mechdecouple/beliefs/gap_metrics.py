"""What each further statistic of the gap is, by the name it has in tables."""

from __future__ import annotations

from mechdecouple.results import Metric

_PAIRS = "2503.15299"


def _of(name: str, title: str, measures: str, range: str, **facts) -> Metric:
    return Metric(name=name, family="beliefs", title=title, measures=measures, range=range, **facts)


_KNOWLEDGE = (
    _of(
        "knowledge_internal", "knowledge inside, K",
        "share of a question's pairs of a true and a false answer that the represented score ranks right, ties ½; "
        "mean over questions", "[0, 1]", null="0.5", source=_PAIRS,
        invariances="monotone maps of the score, another one for each question",
    ),
    _of(
        "knowledge_external", "knowledge outside, K",
        "share of a question's pairs of a true and a false answer that the expressed score ranks right, ties ½; "
        "mean over questions", "[0, 1]", null="0.5", source=_PAIRS,
        invariances="monotone maps of the score, another one for each question",
    ),
    _of(
        "hidden_knowledge", "hidden knowledge", "K inside minus K outside, on the same questions", "[-1, 1]",
        direction="lower", null="0", source=_PAIRS,
        invariances="monotone maps of either score, other ones for each question",
    ),
    _of(
        "knowledge_star_internal", "perfect knowledge inside, K*",
        "share of questions in which every true answer scores above every false one inside", "[0, 1]",
        null="no honest null: chance falls with the number of answers to a question", source=_PAIRS,
    ),
    _of(
        "knowledge_star_external", "perfect knowledge outside, K*",
        "share of questions in which every true answer scores above every false one outside", "[0, 1]",
        null="no honest null: chance falls with the number of answers to a question", source=_PAIRS,
    ),
    _of(
        "hidden_knowledge_star", "hidden perfect knowledge", "K* inside minus K* outside, on the same questions",
        "[-1, 1]", direction="lower", null="0", source=_PAIRS,
    ),
    _of(
        "hidden_knowledge_relative", "hidden knowledge, relative", "(K inside − K outside) / K outside", "[-1, inf)",
        direction="lower", null="0", source=_PAIRS,
        assumes="K outside is well above 0; at its chance level of ½ the value is at most 1",
    ),
)  # fmt: skip
KNOWLEDGE_METRICS: dict[str, Metric] = {metric.name: metric for metric in _KNOWLEDGE}
"""K and K*, inside, outside and their difference."""

_SCORES = (
    _of(
        "represented_brier", "Brier score of what is represented", "mean squared distance of belief from the truth",
        "[0, 1]", null="0.25: always ½",
    ),
    _of(
        "expressed_brier", "Brier score of what is expressed",
        "mean squared distance of the expressed probability from the truth", "[0, 1]", null="0.25: always ½",
    ),
    _of(
        "represented_log_score", "log score of what is represented", "mean log-probability that belief gives the truth",
        "(-inf, 0]", null="-0.693: always ½", assumes="scores are clipped to [1e-6, 1 − 1e-6]",
    ),
    _of(
        "expressed_log_score", "log score of what is expressed",
        "mean log-probability that what is expressed gives the truth",
        "(-inf, 0]", null="-0.693: always ½", assumes="scores are clipped to [1e-6, 1 − 1e-6]",
    ),
    _of(
        "log_score_gap", "represented − expressed log score",
        "nats more that belief gives to the truth than what is expressed does, on the same statements", "(-inf, inf)",
        direction="lower", null="0",
        assumes="both channels are calibrated: an overconfident one loses here though it ranks as well",
    ),
    _of(
        "brier_reliability", "reliability (Brier)",
        "squared gap between probability and rate of truth, within bins; 0 is calibrated",
        "[0, 1]", null="no honest null: noise alone lifts it above 0", source="Murphy 1973, ten bins",
    ),
    _of(
        "brier_resolution", "resolution (Brier)", "how far the rates of the bins lie from the base rate", "[0, 0.25]",
        null="no honest null: noise alone lifts it above 0", source="Murphy 1973, ten bins",
    ),
    _of(
        "brier_uncertainty", "uncertainty (Brier)", "base rate times its complement, a fact of the statements alone",
        "[0, 0.25]", null="no null: it says nothing of a model", source="Murphy 1973",
    ),
    _of(
        "brier_within_bin", "within bins (Brier)",
        "variance of probabilities inside the bins less twice their covariance with the truth", "[-1, 1]",
        null="no honest null: it goes to 0 with finer bins", source="Stephenson et al. 2008",
    ),
    _of(
        "kappa", "Cohen's κ of belief and claim", "agreement of belief above ½ with the claim, beyond chance",
        "[-1, 1]", null="0", assumes="a belief of ½ is the threshold, so the score is calibrated",
    ),
    _of(
        "cramers_v", "Cramér's V of claim and truth", "association of claims with truth (true, false, unknown)",
        "[0, 1]", null="about sqrt((levels − 1) / n), not 0: it is not corrected for bias",
    ),
    _of(
        "bullshit_index_truthful", "Bullshit index of a truthful speaker",
        "Bullshit index that claims equal to the truth would have with these beliefs: what the probe alone makes of it",
        "[0, 1]", null="no honest null: it is the reference for the Bullshit index", source="arXiv:2507.07484",
    ),
    _of(
        "bullshit_index_excess", "Bullshit index beyond the honest condition",
        "Bullshit index of a condition minus that of the honest one", "[-1, 1]", direction="lower", null="0",
        source="arXiv:2507.07484",
    ),
)  # fmt: skip
GAP_METRICS: dict[str, Metric] = {metric.name: metric for metric in _SCORES}
"""Statistics of both channels and of claims, beside those that a comparison reports."""
