import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple import extract, zoo
from mechdecouple.errors import InputError, MismatchError, ModelError
from mechdecouple.models import load_pretrained, wrap
from mechdecouple.sae import SparseAutoencoder
from mechdecouple.sae._saelens import saelens
from mechdecouple.sae.spliced import STATES, spliced
from mechdecouple.tasks import Task


class Rebuild:
    """A dictionary that puts a function of the rows in their place, and remembers what it was given."""

    def __init__(self, function):
        self.function, self.rows = function, []

    def encode(self, X):
        self.rows.append(X)
        return X

    def decode(self, latents):
        return self.function(latents).astype(np.float32)


@pytest.fixture(scope="module")
def readout():
    return zoo.load("planted-factored"), zoo.task("planted-factored", 400)


@pytest.fixture(scope="module")
def gpt2(gpt2_dir):
    return load_pretrained(gpt2_dir, device="cpu")


@pytest.fixture(scope="module")
def yes_no(yes_no_items):
    return Task.from_frame(yes_no_items)


def loss_task(n=24, seed=0):
    rng = np.random.default_rng(seed)
    words = [" ".join(f"w{w}" for w in rng.integers(0, 30, rng.integers(4, 12))) for _ in range(n)]
    return Task.from_frame(pd.DataFrame({"prompt": words, "group": np.arange(n) // 2}), performance="loss")


def untrained(d, hook_point):
    """A SAELens SAE with fresh weights."""
    torch.manual_seed(0)
    fields = {"architecture": "topk", "d_in": d, "d_sae": 64, "k": 8, "dtype": "float32", "device": "cpu"}
    return SparseAutoencoder(saelens().SAE.from_dict({**fields, "metadata": {"hook_name": hook_point}}))


def test_a_perfect_reconstruction_loses_nothing(readout):
    found = spliced(Rebuild(lambda z: z), *readout, "representation")
    for quantity in ("loss", "accuracy"):
        levels, recovered = found.levels[quantity], found.recovered[quantity]
        assert levels["spliced"].value == pytest.approx(levels["clean"].value, abs=1e-6)
        for floor in ("zero", "mean"):
            assert recovered[floor].value == pytest.approx(1, abs=1e-4)
            assert recovered[floor].null == 0 and recovered[floor].n == 400
    assert found.levels["accuracy"]["clean"].value > 0.99
    assert found.replaced == 400


def test_each_floor_recovers_nothing_of_itself(readout):
    model, task = readout
    mean = extract(model, task, ["representation"], progress=False)["representation"].mean(0, dtype=np.float64)
    for floor, row in {"zero": 0 * mean, "mean": mean}.items():
        found = spliced(Rebuild(lambda z, row=row: np.tile(row, (len(z), 1))), model, task, "representation")
        share = found.recovered["loss"][floor]
        assert share.value == pytest.approx(0, abs=1e-3)
        # without the activation the readout has a coin for each item
        assert found.levels["loss"][floor].value == pytest.approx(np.log(2), abs=0.05)


def test_what_lies_between_is_the_share_of_the_loss(readout):
    """Against the readout itself, run by hand on the same noisy rows."""
    model, task = readout
    rng = np.random.default_rng(0)

    def noisy(z):
        return z + rng.normal(size=z.shape)

    dictionary = Rebuild(noisy)
    found = spliced(dictionary, model, task, "representation")
    x = np.concatenate(dictionary.rows)
    rebuilt = x + np.random.default_rng(0).normal(size=x.shape)

    def loss(rows):
        question = task.inputs[:, -6:]
        asked = ((rows @ model.module.readout.weight.detach().numpy().T) * question).sum(1)
        return np.logaddexp(0, -2 * asked * np.where(task.answers == 1, 1, -1)).mean()

    clean, noisy_loss, zero = loss(x), loss(rebuilt), np.log(2)
    expected = (zero - noisy_loss) / (zero - clean)
    assert found.recovered["loss"]["zero"].value == pytest.approx(expected, abs=1e-3)
    assert found.recovered["loss"]["zero"].low < expected < found.recovered["loss"]["zero"].high
    assert expected < 0.95


def test_a_hook_point_that_nothing_reads_has_nothing_to_recover():
    class Deaf(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unread = torch.nn.Linear(4, 4)

        def forward(self, x):
            return x[:, :2] + 0 * self.unread(x)[:, :2]

    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    table = pd.DataFrame({"id": [f"x{i}" for i in range(60)], "answer": X[:, :2].argmax(1)})
    found = spliced(Rebuild(lambda z: 0 * z), wrap(Deaf()), Task.from_frame(table, inputs=X, name="deaf"), "unread")
    share = found.recovered["accuracy"]["mean"]
    assert np.isnan(share.value) and "costs 0" in share.reason and "there is nothing to win back" in share.reason


def test_choices_and_texts_are_read_too(gpt2, yes_no):
    for task, defined, missing in ((yes_no, "accuracy", None), (loss_task(), "loss", "accuracy")):
        found = spliced(Rebuild(lambda z: z), gpt2, task, "blocks.0.hook_resid_post")
        level = found.levels[defined]
        assert level["spliced"].value == pytest.approx(level["clean"].value, abs=1e-6)
        assert level["zero"].value != level["clean"].value
        if missing:
            assert "not right or wrong" in found.recovered[missing]["mean"].reason
            assert "not right or wrong" in found.levels[missing]["clean"].reason
    table = found.frame()
    assert set(table.context) == {*STATES} and "sae_loss_recovered" in table.metric.to_list()
    assert "sae_spliced_loss" in found._repr_html_()


def test_texts_are_generated_no_longer_than_asked_for(gpt2, yes_no):
    table = yes_no.frame.drop(columns=["choices"]).assign(answer="yes")
    task = Task.from_frame(table, performance="generation")
    short, long = (Rebuild(lambda z: z) for _ in range(2))
    for one, most in ((short, 1), (long, 4)):
        spliced(one, gpt2, task, "blocks.0.hook_resid_post", max_new_tokens=most)
    assert sum(map(len, short.rows)) < sum(map(len, long.rows))


def test_tokens_that_are_replaced(gpt2, yes_no):
    """All tokens of the text, options included, or the one named; never the special ones, unless asked for."""
    texts = loss_task()
    lengths = [len(p.split()) for p in texts.prompts]
    for options, expected in (
        ({}, sum(lengths)),
        ({"position": "last"}, len(lengths)),
    ):
        dictionary = Rebuild(lambda z: z)
        found = spliced(dictionary, gpt2, texts, "blocks.0.hook_resid_post", **options)
        assert sum(map(len, dictionary.rows)) == found.replaced == expected
    table = pd.DataFrame({"tokens": [[1, 5, 6, 7], [1, 8, 9, 1]], "id": ["a", "b"]})  # 1 is <eos>
    tokens = Task.from_frame(table, performance="loss")
    for special, expected in ((False, 5), (True, 8)):
        found = spliced(Rebuild(lambda z: z), gpt2, tokens, "blocks.0.hook_resid_post", special=special)
        assert found.replaced == expected
    two = pd.DataFrame(
        {"prompt": ["w1 w2", "w3"], "choices": ["yes|no w4 w5", "no|yes"], "answer": ["yes", "no"], "id": ["a", "b"]}
    )
    options = Rebuild(lambda z: z)
    spliced(options, gpt2, Task.from_frame(two), "blocks.0.hook_resid_post")
    # options are scored in one row with their prompt, up to the last token that something is predicted from
    assert sum(map(len, options.rows)) == (2 + 2) + 1


def test_an_sae_goes_where_it_was_trained(gpt2, yes_no):
    points = gpt2.layer_points
    sae = untrained(16, points[1])
    found = spliced(sae, gpt2, yes_no)
    assert found.hook_point == points[1]
    assert all(np.isfinite(e.value) for e in found.levels["loss"].values())
    single, double = (
        found.levels["loss"]["spliced"],
        spliced(Rebuild(lambda z: sae.decode(sae.encode(z))), gpt2, yes_no, points[1]).levels["loss"]["spliced"],
    )
    assert single.value == pytest.approx(double.value, rel=1e-5)
    with pytest.raises(MismatchError, match="trained on hook point"):
        spliced(sae, gpt2, yes_no, points[0])
    sae.sae.cfg.metadata["mechdecouple"] = {"source": {"model": {"name": "other", "weight_hash": "abc"}}}
    with pytest.raises(MismatchError, match="trained on model 'other', not on 'tiny-gpt2', whose weights differ"):
        spliced(sae, gpt2, yes_no)
    sae.sae.cfg.metadata["mechdecouple"]["source"]["model"]["weight_hash"] = gpt2.weight_hash
    spliced(sae, gpt2, yes_no)
    with pytest.raises(InputError, match="has width 16, this SAE reads width 7"):
        spliced(untrained(7, points[1]), gpt2, yes_no)


def test_what_cannot_be_spliced_is_refused(readout, gpt2, yes_no):
    same = Rebuild(lambda z: z)
    with pytest.raises(InputError, match="a mean over tokens is nowhere in the model"):
        spliced(same, gpt2, yes_no, "blocks.0.hook_resid_post", position="mean")
    with pytest.raises(InputError, match="position 'third' is unknown"):
        spliced(same, gpt2, yes_no, "blocks.0.hook_resid_post", position="third")
    with pytest.raises(InputError, match="hook point 'nowhere' of the SAE is not here"):
        spliced(same, *readout, "nowhere")
    with pytest.raises(InputError, match="rebuilds activations as NaN"):
        spliced(Rebuild(lambda z: z * np.nan), *readout, "representation")
    with pytest.raises(ModelError, match="needs a language model"):
        spliced(same, readout[0], yes_no, "representation")
