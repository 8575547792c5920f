import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import same_output as study
from analyses._arms import Arms
from analyses._same_output import networks, published
from mechdecouple.errors import InputError
from mechdecouple.structure import invariant_share


def test_units_are_the_functions_they_are_called():
    z = torch.tensor([[0.0, 0.5]])
    layer = networks.Layer(torch.eye(2).repeat(2, 1), (("identity", 2), ("gaussian", 2)))
    expected = [0, 0.5, 1, 2 * np.exp(-0.25) - 1]
    assert layer(z)[0].tolist() == pytest.approx(expected)
    odd = networks.Layer(torch.eye(2).repeat(2, 1), (("sigmoid", 2), ("sin", 2)))
    assert odd(z)[0].tolist() == pytest.approx([0, np.tanh(0.25), 0, np.sin(0.5)])


def test_mirrored_pixels_differ_in_the_side_alone_and_are_each_others():
    x, partner = networks.grid(7).numpy(), networks.mirrored(7)
    assert (partner[partner] == np.arange(49)).all()
    assert x[partner] == pytest.approx(x * [1, -1, 1, 1], abs=1e-6)
    assert x[:, 2] == pytest.approx(1.4 * np.hypot(x[:, 0], x[:, 1]), abs=1e-6)


@pytest.mark.parametrize("face", [0, 1, 7])
def test_the_composed_face_is_symmetric_sparse_and_has_three_colours(face):
    net = networks.composed(face)
    task = networks.face_task(face)
    image = np.array(task.answers).reshape(networks.JUDGED_ON, networks.JUDGED_ON)
    assert (image == image[:, ::-1]).all()
    assert len(np.unique(image)) == 3
    assert study.shares(net, 48)["wired"] < 0.1
    # only what passes the side on is not even
    uneven = [
        int((invariant_share(m.numpy(), networks.mirrored(48)) < 0.999).sum()) for m in net.maps(networks.grid(48))
    ]
    assert uneven == [1, 1, 1, *[0] * (networks.N_HIDDEN - 1)]
    # head, eyes and mouth: the middle is face, the corners are background
    assert image[24, 24] == 1
    assert image[0, 0] == 0
    assert (image[:24] == 2).any() and (image[24:] == 2).any()


def test_groups_hold_both_sides_and_every_side_all_that_is_drawn():
    frame = networks.face_task(0).frame
    assert (frame.groupby("group")["context"].nunique() == 2).all()
    assert (frame.groupby("context")["concept_drawn"].sum() > 10).all()


def test_fresh_weights_keep_the_wiring_and_the_size_of_a_layer_or_neither():
    one = networks.composed(0)
    same, every = networks.fresh(one, 0, wiring=True), networks.fresh(one, 0, wiring=False)
    for old, new, free in zip(one.weights, same.weights, every.weights, strict=True):
        assert ((new != 0) == (old != 0)).all()
        assert not torch.equal(new, old)
        assert (free != 0).all()
    big = networks.Network([torch.eye(200, 4), torch.full((3, 200), 5.0)], (("identity", 200),))
    assert networks.fresh(big, 0, wiring=True).weights[1].std() == pytest.approx(5, rel=0.1)
    assert networks.fresh(big, 0, wiring=False).weights[1].std() == pytest.approx(200**-0.5, rel=0.1)


def test_the_gradient_is_divided_by_its_norm_over_all_weights():
    parameters = [torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(1))]
    for p, g in zip(parameters, ([3.0, 0.0], [4.0]), strict=True):
        p.grad = torch.tensor(g)
    networks._normalise(parameters)
    assert [p.grad.tolist() for p in parameters] == [pytest.approx([0.6, 0.0]), pytest.approx([0.8])]


def test_a_copy_of_the_composed_network_has_no_loss():
    recipe = study.recipe(3)
    assert recipe.loss(networks.composed(3), None, 0.0, None).item() < 1e-12
    assert recipe.loss(networks.composed(4), None, 0.0, None).item() > 1e-3


def write_pickles(directory, weights, arch):
    directory.mkdir(parents=True)
    (directory / "params.pkl").write_bytes(pickle.dumps(weights))
    (directory / "arch.pkl").write_bytes(pickle.dumps(arch))


@pytest.fixture
def checkout(tmp_path):
    """A pair of eleven hidden layers of two units, every weight a tenth of its layer's number."""
    sizes = [8, *[4] * 10, 6]
    flat = np.concatenate([np.full(sizes[i], (i + 1) / 10) for i in sorted(range(12), key=str)]).astype("<f4")
    for kind in ("picbreeder", "sgd"):
        write_pickles(tmp_path / f"{kind}_thing", flat, "11;cache:1,gaussian:1")
    return tmp_path


def test_published_layers_lie_in_the_order_of_their_names(checkout):
    pairs = published.published_pairs(checkout)
    assert list(pairs) == ["thing"]
    weights = pairs["thing"][0].weights
    assert [float(w.mean()) for w in weights] == pytest.approx(np.arange(1, 13) / 10)
    assert [tuple(w.shape) for w in weights] == [(2, 4), *[(2, 2)] * 10, (3, 2)]
    found = study.measure_published(checkout, draws=2)
    assert found["arm"].value_counts().to_dict() == {
        "evolved": 1, "trained": 1, "fresh, same wiring": 2, "fresh, all wired": 2,
    }  # fmt: skip
    assert (found["error"] == 0).all()


class Trap:
    def __reduce__(self):
        return (open, ("trap-was-run", "w"))


def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pickles(tmp_path / "picbreeder_x", Trap(), "1;cache:2")
    with pytest.raises(InputError, match="not one array"):
        published.read_network(tmp_path / "picbreeder_x")
    assert not (tmp_path / "trap-was-run").exists()


@pytest.mark.parametrize(
    ("weights", "arch", "words"),
    [(np.zeros(14), "1;cache:2", "not one array"), (np.zeros(13, "<f4"), "1;cache:2", "13 weights, expected 14"),
     (np.full(14, np.nan, "<f4"), "1;cache:2", "NaN"), (np.zeros(14, "<f4"), "1;relu:2", "no kind 'relu'"),
     (np.zeros(14, "<f4"), "cache", "expected e.g."), (np.zeros(14, "<f4"), 3, "0 texts")],
)  # fmt: skip
def test_other_files_are_refused_by_name(tmp_path, weights, arch, words):
    write_pickles(tmp_path / "net", weights, arch)
    with pytest.raises(InputError, match=words):
        published.read_network(tmp_path / "net")


def test_a_folder_without_a_pair_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pair"):
        published.published_pairs(tmp_path)
    (tmp_path / "params.pkl").write_bytes(b"\x80\x04\x95garbage")
    with pytest.raises(InputError, match="no pickle"):
        published.numbers(tmp_path / "params.pkl")
    with pytest.raises(InputError, match="cannot be read"):
        published.numbers(tmp_path / "missing.pkl")


def table(gap, control):
    even = {"composed": 0.9, "traced": 0.9 - gap, "fresh, same wiring": 0.9 + control, "fresh, all wired": 0.7}
    rows = [
        {"arm": arm, "seed": s, "even": even[arm] + 0.01 * s, "even_variance": even[arm] - 0.1}
        for arm in study.ARMS for s in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


@pytest.mark.parametrize(("gap", "met"), [(0.2, 2), (0.05, 1), (-0.2, 1)])
def test_criteria_are_met_and_missed(gap, met):
    assert sum(c.met for c in study.criteria(table(gap, 0.0), Equal(()))) == met


@pytest.mark.parametrize(("evolved", "trained", "control", "met"), [(0.9, 0.63, 0.92, 3), (0.8, 0.7, 0.6, 0)])
def test_published_criteria_are_met_and_missed(evolved, trained, control, met):
    rows = [
        ("evolved", evolved),
        ("trained", trained),
        ("fresh, same wiring", control),
        ("fresh, same wiring", control),
    ]
    found = pd.DataFrame([{"image": "skull", "arm": arm, "even": even} for arm, even in rows])
    assert sum(c.met for c in study.published_criteria(found)) == met
    assert study.published_criteria(found.assign(image="other")) == []


def test_the_figure_has_a_dot_a_face_and_its_caption_the_numbers():
    sides = pd.DataFrame(
        [{"arm": arm, "seed": s, "hook_point": f"layers.{i}", "value": 0.9 - 0.2 * (arm == "traced")}
         for arm in study.ARMS[:2] for s in range(3) for i in range(5)]
    )  # fmt: skip
    found = table(0.2, 0.0)
    figure = study.draw(found, sides, networks.composed(0), networks.fresh(networks.composed(0), 0, wiring=False))
    dots = [
        line for ax in figure.axes for line in ax.lines if line.get_marker() in "os^v" and line.get_markersize() == 3.5
    ]
    assert sum(len(line.get_xdata()) for line in dots) == 4 * 2 * 3 + 2 * 5 * 3
    words = study.caption(found, sides, pd.DataFrame({"a": [1.0], "b": [0.99]}))
    assert "composed one are even to 0.91" in words
    assert "at 0.90 and 0.70" in words


def test_a_few_steps_lower_the_error_and_the_network_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    recipe = dataclasses.replace(study.recipe(0), name="tiny-traced", steps=40)
    net = study.raw(recipe, 0)
    before, after = (recipe.loss(n, None, 0.0, None).item() for n in (recipe.blank(0), net))
    assert after < 0.8 * before
    again = study.raw(recipe, 0)
    assert all(torch.equal(a, b) for a, b in zip(net.weights, again.weights, strict=True))
    rows = study.measured(0, net)
    assert [row["arm"] for row in rows] == list(study.ARMS)
    assert all(0 <= row[name] <= 1 for row in rows for name in ("even", "even_variance", "wired"))
