"""read(model, task): what a model expresses on each item, in the way the task declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from mechdecouple.behavior.answers import Answers, LossUnit
from mechdecouple.behavior.choices import ChoiceReader
from mechdecouple.behavior.classes import ClassReader
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.generate import GenerationReader
from mechdecouple.behavior.loss import LossReader
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import HookedModel
from mechdecouple.models.encode import Encoded, encode
from mechdecouple.tasks import Task

Reading = Callable[[EditsFor | None], Answers]


def read(
    model: HookedModel | None,
    task: Task,
    *,
    edits: EditsFor | None = None,
    chat: bool = False,
    length_normalise: bool = False,
    loss_unit: LossUnit = "token",
    max_new_tokens: int = 16,
    batch_tokens: int = 8192,
    slot: Literal["a", "b"] = "a",
    encoded: Encoded | None = None,
) -> Answers:
    """Read a model's answers to every item.

    ``choice``: the option with the highest log-likelihood after the prompt (at the mask, for masked language models).
    ``generation``: exact match of a greedy continuation. ``loss``: mean negative log-likelihood of the prompt's own
    tokens. ``class``: argmax of a classifier's logits, or of the next token. ``score``: the task's own
    ``score_a`` or ``score_b``.

    Args:
        edits: makes interventions for each batch, so that answers can be read under them.
        chat: put prompts through the tokenizer's chat template.
        length_normalise: divide an option's log-likelihood by its UTF-8 bytes (its tokens where the task gives tokens).
        loss_unit: losses per ``token``, or per UTF-8 ``byte`` where models differ in tokenizer (see `Answers.in_unit`).
        max_new_tokens: longest generation.
        batch_tokens: tokens a batch, padding included; fewer where the vocabulary is large.
        slot: whose score column, where the task brings scores; ``model`` may be None then.
        encoded: the items as `encode` gave them, to save tokenising again.

    Raises:
        TaskError: an item does not fit the model (too long, an option outside its vocabulary); names the row.
        ModelError: the model's head or inputs do not fit the task, or its logits are not finite.
    """
    reading = prepare(
        model, task, chat=chat, length_normalise=length_normalise, loss_unit=loss_unit, max_new_tokens=max_new_tokens,
        batch_tokens=batch_tokens, slot=slot, encoded=encoded,
    )  # fmt: skip
    return reading(edits)


def prepare(
    model: HookedModel | None,
    task: Task,
    *,
    chat: bool = False,
    length_normalise: bool = False,
    loss_unit: LossUnit = "token",
    max_new_tokens: int = 16,
    batch_tokens: int = 8192,
    slot: Literal["a", "b"] = "a",
    encoded: Encoded | None = None,
) -> Reading:
    """Do once what does not depend on interventions, such as tokenising; call the result with edits or None."""
    if slot not in ("a", "b"):
        raise InputError(f"slot {slot!r} is unknown; it is 'a' or 'b'")
    if loss_unit not in ("token", "byte"):
        raise InputError(f"loss unit {loss_unit!r} is unknown; it is 'token' or 'byte'")
    if task.scores is not None:
        answers = Answers.of(
            task, score=task.scores[slot], chance_reason="supplied scores have no chance level",
            expressed_reason="the task brings scores, not answers",
        )  # fmt: skip
        return lambda _edits: answers
    if model is None:
        raise ModelError(f"a task of performance {task.performance!r} needs a model to read answers from; give one")
    unit = f"nats per {loss_unit}" if task.performance == "loss" else ""
    reason = _silence(model, task)
    if reason:
        nothing = Answers.nothing(task, reason, unit)
        return lambda _edits: nothing
    if task.performance == "class":
        return ClassReader(model, task, _encoded(model, task, chat, encoded), batch_tokens)
    if model.head == "class":
        raise ModelError(
            f"model {model.name!r} is a classifier; a task of performance {task.performance!r} needs a language model"
        )
    if chat and task.performance == "loss":
        raise InputError("loss is read on plain text, not on a chat template; leave out chat")
    items = encoded or encode(model, task, chat=chat)
    if task.performance == "choice":
        return ChoiceReader(model, task, items, batch_tokens, chat=chat, length_normalise=length_normalise)
    if task.performance == "generation":
        return GenerationReader(model, task, items, batch_tokens, max_new_tokens=max_new_tokens)
    return LossReader(model, task, items, batch_tokens, unit=loss_unit)


def _silence(model: HookedModel, task: Task) -> str:
    """Why the model expresses nothing on such a task; empty where it does."""
    if model.head is None:
        return "headless encoder: it expresses nothing"
    if model.head == "mlm" and task.performance in ("generation", "loss", "class"):
        what = {"generation": "text", "loss": "next-token loss", "class": "class"}[task.performance]
        return f"masked language model: it gives no {what}; use choices at a mask"
    return ""


def _encoded(model: HookedModel, task: Task, chat: bool, encoded: Encoded | None) -> Encoded | None:
    if model.input_kind == "array":
        if task.inputs is None:
            raise ModelError(f"model {model.name!r} takes tensors, but task {task.name!r} has none; give it inputs")
        return None
    return encoded or encode(model, task, chat=chat)
