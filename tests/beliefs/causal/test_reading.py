import numpy as np
import pytest

from mechdecouple.beliefs.reading import Halves, Reader, accuracy, affirmed
from mechdecouple.errors import InputError
from mechdecouple.extract import extract
from mechdecouple.models import untrained
from mechdecouple.refs import load
from mechdecouple.tasks import Task


@pytest.fixture(scope="module")
def task(yes_no_items):
    return Task.from_frame(yes_no_items.assign(position_first=0))


@pytest.mark.parametrize("position", ["last", "position_first"])
@pytest.mark.parametrize("directory", ["gpt2_dir", "llama_dir"])
def test_activations_are_those_that_extract_gives(directory, position, task, request):
    model = load(request.getfixturevalue(directory))
    points = model.layer_points
    found = Reader.of(model, task, position).activations(points)
    expected = extract(model, task, points, position, progress=False)
    for point in points:
        np.testing.assert_allclose(found[point], expected[point], atol=1e-5)


def test_a_change_reaches_its_token_and_is_read_before_it_is_made(gpt2_dir, task):
    reader = Reader.of(load(gpt2_dir), task)
    early, late = reader.model.layer_points[1:3]
    plain = reader.activations([early, late])
    changed = reader.activations([early, late], {early: lambda x, _: x + 1.0})
    np.testing.assert_allclose(changed[early], plain[early])
    np.testing.assert_allclose(reader.affirmed({late: lambda x, _: x}), reader.clean, atol=1e-6)
    assert np.abs(changed[late] - plain[late]).min(axis=1).max() > 0.1
    assert not np.allclose(reader.affirmed({late: lambda x, _: -x}), reader.clean)


def test_changes_know_their_items(known_model, statements):
    reader = Reader.of(known_model(), statements(n_pairs=700))
    number = np.arange(len(reader.task)) / 1000

    def change(x, items):
        x = x.clone()
        x[:, 0] = x.new_tensor(number[items])
        return x

    np.testing.assert_allclose(reader.affirmed({"used": change}), 1 / (1 + np.exp(-1.5 * number)), atol=1e-6)


def test_positions_that_are_not_one_token_are_refused(gpt2_dir, task, known_model, statements):
    for position in ("mean", "all"):
        with pytest.raises(InputError, match="not one place"):
            Reader.of(load(gpt2_dir), task, position)
    with pytest.raises(InputError, match="'last', the whole input"):
        Reader.of(known_model(), statements(), "mean")
    with pytest.raises(InputError, match="unknown"):
        Reader.of(load(gpt2_dir), task, "position_third")


def test_halves_share_no_group_and_fit_on_honest_items_alone(known_model, statements):
    condition = np.where(np.arange(120) % 4 < 2, "honest", "pressed")
    task = statements(condition=condition)
    halves = Halves.of(known_model(), task, "last", task.condition == "pressed", False, 0)
    assert set(halves.fit.task.condition) == {"honest"}
    assert set(halves.held.task.condition) == {"pressed"}
    both = Halves.of(known_model(), task, "last", np.ones(120, bool), False, 0)
    assert not set(both.fit.task.groups) & set(both.held.task.groups)
    assert set(both.held.task.condition) == {"honest", "pressed"}
    with pytest.raises(InputError, match="3 entries"):
        Halves.of(known_model(), task, "last", [True] * 3, False, 0)


def test_why_nothing_can_be_tried(known_model, statements, gpt2_dir, task):
    assert "only 9 groups hold a true" in Halves.of(known_model(), statements(9), "last", None, False, 0).reason
    unknown = statements(truth=np.nan)
    assert "only 0 groups" in Halves.of(known_model(), unknown, "last", None, False, 0).reason
    silent = load(gpt2_dir)
    silent.head = None
    assert "expresses nothing" in Halves.of(silent, task, "last", None, False, 0).reason


def test_two_classes_and_options_are_both_asserted_by_probability(known_model, statements, gpt2_dir, task):
    reader = Reader.of(known_model(), statements())
    z = 1.5 * reader.task.inputs[:, 0]
    np.testing.assert_allclose(affirmed(reader.read(None)), 1 / (1 + np.exp(-z)), atol=1e-6)
    answers = Reader.of(untrained(load(gpt2_dir)), task).read(None)
    np.testing.assert_array_equal(affirmed(answers), answers.expressed)


def test_ties_are_half_right():
    np.testing.assert_array_equal(accuracy(np.array([0.5, 0.9, 0.9, 0.1]), np.array([1, 1, 0, 0])), [0.5, 1, 0, 1])
