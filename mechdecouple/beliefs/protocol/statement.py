"""What may be claimed of a represented belief, said control by control."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mechdecouple.beliefs.represent import claimable
from mechdecouple.results import Estimate

if TYPE_CHECKING:
    from mechdecouple.beliefs.protocol.report import Protocol


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim: the question it answers, whether it holds (None: not checked, or not decidable), and why."""

    question: str
    holds: bool | None
    sentence: str


def claims(found: Protocol) -> tuple[Claim, ...]:
    """The gate first; where it is shut, nothing else is claimed."""
    passed, why = claimable(found.represented)
    if found.represented.reason:
        return (Claim("Is the truth represented?", None, f"Nothing can be claimed: {found.represented.reason}."),)
    gate = Claim("Is the truth represented?", passed, why)
    if not passed:
        return gate, Claim("May a gap be claimed?", False, "Without a belief to read there is no gap to speak of.")
    others = (
        _selective(found.selectivity),
        _beyond(found),
        _surface(found),
        _levels(
            "Does it hold in every stratum?",
            {f"{stratum} {level}": e for (stratum, level), e in found.strata.items()},
            "The belief ranks true above false statements in every stratum",
            "no strata were given",
        ),
        _levels(
            "Does it carry over to contexts it was not fitted on?",
            found.left_out,
            "A read-out fitted in the other contexts ranks true above false statements in each context left out",
            "no contexts were given",
        ),
        _levels(
            "Is it there under every condition?",
            found.conditions,
            "Read by the honest condition's probes, the truth is there under every condition",
            "no conditions were given",
        ),
        *_identity(found.identity),
        Claim(
            "Is it used?",
            None,
            "Decodable is not used: whether the answer depends on it takes an intervention, not a probe.",
        ),
    )
    return gate, *others


def verdict(found: Protocol) -> str:
    """One sentence on what may be claimed, then the questions that limit it and those left open."""
    name = found.model or "the model"
    if found.claims[0].holds is not True:
        return f"It may not be claimed that {name} represents the truth."
    sentence = (
        f"It may be claimed that the truth of honest statements of unseen groups can be read linearly from {name} at "
        f"{found.represented.hook_point} (AUROC {found.auroc})."
    )
    for holds, words in ((False, "Answered with no"), (None, "Left open")):
        questions = [claim.question for claim in found.claims if claim.holds is holds]
        if questions:
            sentence += f" {words}: {' '.join(questions)}"
    return sentence


def _selective(estimate: Estimate) -> Claim:
    question = "Is it the statement's truth, not its identity?"
    if math.isnan(estimate.value):
        return Claim(question, None, f"Selectivity is undefined: {estimate.reason}.")
    if estimate.low > 0:
        return Claim(question, True, f"It reads the truth better than random labels of its types ({estimate}).")
    return Claim(question, False, f"Random labels of the same types of item are read as well (selectivity {estimate}).")


def _beyond(found: Protocol) -> Claim:
    question = "Is it more than the input gives away?"
    missing = [name for name in ("layer 0", "untrained") if name not in found.beyond]
    left = f" Not checked: {' and '.join(missing)} (no activations given)." if missing else ""
    if len(missing) == 2:
        return Claim(question, None, left.strip())
    words = ", ".join(f"{name} {found.baselines[name].value:.3f}" for name in found.beyond)
    undefined = [f"{name}: {e.reason}" for name, e in found.beyond.items() if math.isnan(e.value)]
    if undefined:
        return Claim(question, None, f"The baseline could not be read ({'; '.join(undefined)}).{left}")
    short = [name for name, e in found.beyond.items() if not e.low > 0]
    if short:
        return Claim(question, False, f"The AUROC does not exceed that of {' and '.join(short)} ({words}).{left}")
    return Claim(question, True, f"The AUROC of {found.auroc.value:.3f} exceeds that of the baselines ({words}).{left}")


def _surface(found: Protocol) -> Claim:
    question = "Is it more than a surface feature?"
    if not found.deciles:
        return Claim(question, None, "No log-likelihood or length was given to set the belief against.")
    words = "; ".join(
        f"{name}: correlation {found.correlations[name].value:+.2f}, AUROC within deciles {e}"
        for name, e in found.deciles.items()
    )
    holds, short = _all_above(found.deciles)
    if holds is None:
        return Claim(question, None, f"Undecided for {', '.join(short)} ({words}).")
    if not holds:
        return Claim(question, False, f"Among statements alike in {' and '.join(short)} it shows no truth ({words}).")
    return Claim(question, True, f"The belief ranks statements that are alike in the feature, too ({words}).")


def _levels(question: str, table: Mapping[str, Estimate], yes: str, absent: str) -> Claim:
    if not table:
        return Claim(question, None, f"Not checked: {absent}.")
    holds, short = _all_above(table)
    words = "; ".join(f"{name} {table[name]}" for name in short)
    if holds is None:
        return Claim(question, None, f"Cannot be told everywhere: {words}.")
    if not holds:
        return Claim(question, False, f"Not shown to exceed chance in: {words}.")
    least = min(table, key=lambda name: table[name].value)
    return Claim(question, True, f"{yes} (least: {least}, {table[least]}).")


def _identity(table: Mapping[str, Estimate]) -> list[Claim]:
    """Not a matter of pass or fail: a hook point may tell contexts apart and hold the truth as well."""
    found = []
    for name, estimate in table.items():
        question = f"Can the hook point tell one {name} from another?"
        if math.isnan(estimate.value):
            found.append(Claim(question, None, f"Whether {name}s can be told apart is undefined: {estimate.reason}."))
        elif estimate.low > 0.5:
            sentence = (
                f"The hook point tells one {name} from another (AUROC {estimate}): a difference of beliefs "
                f"between {name}s may be one of place, not of truth."
            )
            found.append(Claim(question, None, sentence))
        else:
            sentence = f"One {name} is not shown to be told from another there (AUROC {estimate})."
            found.append(Claim(question, None, sentence))
    return found


def _all_above(table: Mapping[str, Estimate]) -> tuple[bool | None, list[str]]:
    """Whether every interval lies above ½, and the entries that speak against it or leave it open."""
    short = [name for name, e in table.items() if math.isfinite(e.value) and not e.low > 0.5]
    if short:
        return False, short
    undefined = [name for name, e in table.items() if math.isnan(e.value)]
    return (None, undefined) if undefined else (True, [])
