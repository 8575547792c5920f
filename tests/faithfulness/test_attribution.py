import captum.attr
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mechdecouple as md
from mechdecouple.errors import InputError
from mechdecouple.faithfulness import METHODS, Maskable, attribute, rationale_auroc
from mechdecouple.faithfulness.attribution import integrated_gradients, usable
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

MASK = 1


@pytest.fixture(scope="module")
def numbers(linear):
    """64 items of 5 numbers, and a model that uses the first two of them."""
    x = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    weights = np.array([2.0, -1.0, 0.0, 0.0, 0.0])
    model, task = linear(weights, x)
    return Maskable(model, task), x, weights


def test_a_linear_model_in_closed_form(numbers):
    subject, x, weights = numbers
    sign = np.where(subject.chosen == 0, 1.0, -1.0)[:, None]
    np.testing.assert_allclose(attribute(subject, "gradient_norm"), np.broadcast_to(abs(weights), x.shape), atol=1e-6)
    np.testing.assert_allclose(attribute(subject, "input_x_gradient"), sign * x * weights, atol=1e-6)
    change = sign * (x - x.mean(axis=0)) * weights
    np.testing.assert_allclose(attribute(subject, "integrated_gradients"), change, atol=1e-5)
    np.testing.assert_allclose(attribute(subject, "leave_one_out"), change, atol=1e-5)


def test_what_is_masked_already_has_no_say(numbers):
    subject, _, _ = numbers
    masked = subject.nothing
    masked[:, 0] = True
    for method in usable(subject):
        assert (attribute(subject, method, masked=masked)[:, 0] == 0).all()


@pytest.mark.parametrize("method", [m for m in METHODS if m != "attention"])
def test_the_word_that_is_used_is_found(words, method):
    model, task, used = words
    subject = Maskable(model, task, mask=MASK)
    found = rationale_auroc(attribute(subject, method), np.array(used), subject.maskable)
    # the slope does not tell which word is there: it is the same at five others, and larger at the one that answers
    assert found.mean() == pytest.approx(5 * 0.5 / 6 if method == "gradient_norm" else 1.0)


def test_attention_that_is_even_says_nothing(words):
    model, task, _ = words
    subject = Maskable(model, task, mask=MASK)
    np.testing.assert_allclose(attribute(subject, "attention"), 1 / 7, atol=1e-6)


@pytest.fixture(scope="module")
def net():
    """A network of sines, smooth and far from linear, on 3 × 4 numbers."""

    class Sine(nn.Module):
        def forward(self, x):
            return torch.sin(x)

    torch.manual_seed(0)
    modules = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), Sine(), nn.Linear(16, 3))
    x = np.random.default_rng(0).normal(size=(40, 3, 4)).astype(np.float32)
    frame = pd.DataFrame({"answer": np.arange(40) % 3})
    task = Task.from_frame(frame, inputs=x, performance="class", name="grids")
    return Maskable(wrap(modules, name="sines"), task), x


def centred(modules, chosen):
    def forward(x, rows=None):
        logits = modules(x)
        own = chosen if rows is None else chosen[rows]
        return (logits - logits.mean(dim=1, keepdim=True)).gather(1, own[:, None])[:, 0]

    return forward


def test_agrees_with_captum_on_tensors(net):
    subject, x = net
    modules = subject.model.module
    forward = centred(modules, torch.as_tensor(subject.chosen))
    inputs, base = torch.tensor(x), torch.tensor(x.mean(axis=0, keepdims=True))

    def flat(values):
        return values.detach().numpy().reshape(40, 12)

    expected = captum.attr.InputXGradient(forward).attribute(inputs.clone().requires_grad_())
    np.testing.assert_allclose(attribute(subject, "input_x_gradient"), flat(expected), atol=1e-5)
    slopes = captum.attr.Saliency(forward).attribute(inputs.clone().requires_grad_(), abs=True)
    np.testing.assert_allclose(attribute(subject, "gradient_norm"), flat(slopes), atol=1e-5)
    # by default captum repeats the answer's index with the steps, and the answer is chosen row by row here
    chosen = torch.as_tensor(subject.chosen)
    repeated = centred(modules, chosen.repeat(20))
    engine = captum.attr.IntegratedGradients(lambda z: (repeated if len(z) > 40 else forward)(z))
    expected = engine.attribute(inputs, base.expand_as(inputs), n_steps=20, method="gausslegendre")
    np.testing.assert_allclose(attribute(subject, "integrated_gradients"), flat(expected), atol=1e-4)
    without = captum.attr.FeatureAblation(forward).attribute(inputs, base.expand_as(inputs))
    np.testing.assert_allclose(attribute(subject, "leave_one_out"), flat(without), atol=1e-5)


def test_integrated_gradients_add_up_to_what_masking_takes(net, words):
    for subject in (net[0], Maskable(*words[:2], mask=MASK)):
        items = np.arange(len(subject))
        found = np.nansum(integrated_gradients(subject, items, subject.nothing, steps=50), axis=1)
        taken = subject.of_chosen(items, subject.nothing) - subject.of_chosen(items, subject.maskable)
        np.testing.assert_allclose(found, taken, atol=1e-4)


def test_agrees_with_captum_on_embeddings(gpt2_dir, yes_no_items):
    model = md.load(str(gpt2_dir))
    frame = pd.DataFrame(yes_no_items)
    task = Task.from_frame(frame[frame.prompt.str.split().str.len() == 4], name="four words")
    subject = Maskable(model, task, mask=5)
    transformer, n = model.module, len(task)
    tokens = torch.tensor(np.array(subject.encoded.tokens))
    ids = torch.tensor(model.tokenizer.convert_tokens_to_ids(["yes", "no"]))

    def forward(embedded, chosen):
        logits = transformer(inputs_embeds=embedded).logits[:, -1, ids]
        return (logits - logits.mean(dim=1, keepdim=True)).gather(1, chosen[:, None])[:, 0]

    embed, chosen = transformer.get_input_embeddings(), torch.as_tensor(subject.chosen)
    x, base = embed(tokens).detach(), embed(torch.full_like(tokens, 5)).detach()
    own = subject.maskable[:, : tokens.shape[1]]
    assert own.all() and n > 5
    expected = captum.attr.InputXGradient(forward).attribute(x.clone().requires_grad_(), additional_forward_args=chosen)
    np.testing.assert_allclose(attribute(subject, "input_x_gradient"), expected.sum(dim=2).detach(), atol=1e-5)
    engine = captum.attr.IntegratedGradients(forward)
    expected = engine.attribute(x, base, additional_forward_args=chosen, n_steps=20, method="gausslegendre")
    np.testing.assert_allclose(attribute(subject, "integrated_gradients"), expected.sum(dim=2), atol=1e-5)


def test_attention_is_the_mean_over_layers_and_heads(bert):
    frame = pd.DataFrame(
        {"prompt": ["w1 w2 [MASK] w3", "w4 [MASK]"], "choices": ["yes|no"] * 2, "answer": ["yes", "no"]}
    )
    subject = Maskable(bert, Task.from_frame(frame, name="masks"))
    found = attribute(subject, "attention")
    for item, at in ((0, 2), (1, 1)):
        tokens = torch.tensor(subject.encoded.tokens[item])[None]
        patterns = bert.module(tokens, output_attentions=True).attentions
        expected = torch.stack([p[0, :, at].mean(dim=0) for p in patterns]).mean(dim=0).detach().numpy()
        own = subject.maskable[item]
        np.testing.assert_allclose(found[item, own], expected[own[: len(expected)]], atol=1e-5)


@pytest.mark.parametrize("method", ["input_x_gradient", "leave_one_out", "integrated_gradients", "attention"])
def test_where_tokens_are_taken_out_values_stay_with_their_words(words, method):
    """Taking out words that count nothing leaves the word that counts where it was."""
    model, task, used = words
    subject = Maskable(model, task, mask="remove")
    used = np.array(used)
    masked = subject.maskable & ~used & (np.arange(7) < 4)
    values = attribute(subject, method, masked=masked)
    assert (values[masked] == 0).all()
    if method != "attention":
        left = subject.maskable & ~masked
        assert (np.where(left, values, -np.inf).argmax(axis=1) == used.argmax(axis=1)).all()


def test_an_explanation_that_a_model_does_not_have_is_refused(numbers):
    subject, _, _ = numbers
    with pytest.raises(InputError, match="'shap' is unknown; choose one of gradient_norm"):
        attribute(subject, "shap")
    with pytest.raises(InputError, match="has no attention patterns"):
        attribute(subject, "attention")
    assert "attention" not in usable(subject)
