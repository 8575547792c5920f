import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import zoo
from mechdecouple.compare.answer_loss import AnswerLoss, weight_loss
from mechdecouple.compare.config import make_config
from mechdecouple.compare.subject import make_subject
from mechdecouple.errors import ModelError
from mechdecouple.extract import extract
from mechdecouple.models import wrap
from mechdecouple.refs import load
from mechdecouple.tasks import Task


def subject_of(model, task, **options):
    acts = extract(model, task, model.layer_points[-1:], "last", progress=False)
    return make_subject(model, task, np.arange(len(task)), acts, make_config(options), "token")


def classifier(width=8):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 2))


@pytest.fixture(scope="module")
def uneven(yes_no_items):
    """Options of one and of several tokens, two or three of them an item."""
    items = yes_no_items.drop(columns="truth").copy()
    items["choices"] = ["yes|no", "yes w1 w2|no w3|w4", "yes w1|yes w2"] * 20
    items["answer"] = [c.split("|")[i % 2] for i, c in enumerate(items["choices"])]
    return Task.from_frame(items, name="uneven")


def test_it_is_what_the_answers_say(gpt2_dir, llama_dir, yes_no_csv, uneven, gaussian_task):
    classes = pd.DataFrame({"prompt": ["w1 w2", "w3 w4 w5", "w6"] * 5, "answer": np.arange(15)})
    hooked = zoo.load("factored", progress=False)
    for model, task in (
        (load(gpt2_dir), Task.from_file(yes_no_csv)),
        (load(gpt2_dir), uneven),
        (load(llama_dir), uneven),
        (load(llama_dir).inner, uneven),
        (load(gpt2_dir), Task.from_frame(classes, performance="class")),
        (wrap(classifier(), "plain"), gaussian_task),
        (hooked, zoo.task("factored", 40)),
    ):
        subject = subject_of(model, task)
        loss, parameters = weight_loss(subject)
        logp = subject.baseline.logp
        found = loss(parameters).detach().numpy()
        np.testing.assert_allclose(found, -logp[loss.items, loss.right], atol=2e-5)
        offered = np.where(np.isfinite(logp), logp, np.nan)[loss.items]
        centred = -found - np.nanmean(offered, axis=1)
        rows = np.array([7, 3, 11])
        np.testing.assert_allclose(loss.logit(parameters, rows).detach().numpy(), centred[rows], atol=5e-5)


def test_small_batches_change_nothing(gpt2_dir, uneven, monkeypatch):
    subject = subject_of(load(gpt2_dir), uneven)
    loss, parameters = weight_loss(subject)
    monkeypatch.setattr(sys.modules[AnswerLoss.__module__], "_BATCH_TOKENS", 40)
    small = AnswerLoss(subject, loss.items)
    torch.testing.assert_close(small(parameters), loss(parameters), atol=1e-5, rtol=1e-5)


def test_masked_language_models_answer_at_their_mask(tmp_path):
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[MASK]", "a", "b", "c", "d"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = hf.BertForMaskedLM(hf.BertConfig(vocab_size=7, **sizes)).eval()
    prompts = ["a [MASK] b", "c d [MASK] a", "[MASK] d"] * 4
    task = Task.from_frame(pd.DataFrame({"prompt": prompts, "choices": "a|b|c", "answer": ["a", "b", "c", "c"] * 3}))
    subject = subject_of(wrap(model, "bert", tokenizer=tokenizer), task)
    loss, parameters = weight_loss(subject)
    expected = -subject.baseline.logp[loss.items, loss.right]
    np.testing.assert_allclose(loss(parameters).detach().numpy(), expected, atol=1e-5)
    # Of the head over two sentences nothing is asked.
    assert not any("pooler" in name or "seq_relationship" in name for name in parameters)


def test_weights_that_no_answer_depends_on_are_left_out(gaussian_task):
    module = classifier()
    module.register_parameter("idle", nn.Parameter(torch.ones(3, 3)))
    loss, parameters = weight_loss(subject_of(wrap(module, "m"), gaussian_task))
    assert set(parameters) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert not any(p.requires_grad for p in parameters.values())
    assert len(loss.items) == 240 and len(loss.part(10).items) == 10


def test_what_has_no_probabilities_or_no_weights_to_replace_is_refused(gpt2_dir, llama_dir, yes_no_items, yes_no_csv):
    text = Task.from_frame(pd.DataFrame({"prompt": yes_no_items["prompt"]}))
    with pytest.raises(ModelError, match="performance 'loss' are not among options"):
        weight_loss(subject_of(load(gpt2_dir), text))
    task = Task.from_file(yes_no_csv)
    with pytest.raises(ModelError, match="folded weights of LlamaForCausalLM"):
        weight_loss(subject_of(load(llama_dir, fold_ln=True), task))
    with pytest.raises(ModelError, match=r"torch.bfloat16: small changes of them need float32"):
        weight_loss(subject_of(load(gpt2_dir, dtype="bfloat16"), task))
