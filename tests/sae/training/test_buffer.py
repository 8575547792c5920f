import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError
from mechdecouple.sae.training.buffer import MixingBuffer


def through(buffer, pieces, batch):
    """All batches of the rows in ``pieces``, as a model's stream feeds a pool; what is left at the end is flushed."""
    for piece in pieces:
        while len(piece):
            piece = piece[buffer.add({"x": piece}) :]
            if not buffer.room:
                buffer.line_up()
                while buffer.waiting >= batch:
                    yield buffer.take(batch)["x"]
    buffer.flush()
    while buffer.waiting:
        yield buffer.take(min(batch, buffer.waiting))["x"]


def numbers(n):
    return torch.arange(float(n))[:, None]


def pieces_of(n, piece):
    return numbers(n).split(piece)


@pytest.mark.parametrize(("n", "capacity", "piece", "batch"), [(100, 20, 7, 3), (50, 64, 50, 8), (96, 32, 1, 16)])
def test_each_row_that_comes_in_goes_out_once(n, capacity, piece, batch):
    buffer = MixingBuffer({"x": 1}, capacity=capacity)
    out = torch.cat(list(through(buffer, pieces_of(n, piece), batch)))[:, 0]
    assert sorted(out.tolist()) == list(range(n))
    assert buffer.room == capacity


def test_hook_points_stay_together():
    buffer = MixingBuffer({"x": 1, "y": 2}, capacity=8)
    x = numbers(8)
    assert buffer.add({"x": x, "y": torch.cat([x, -x], 1)}) == 8
    buffer.flush()
    taken = buffer.take(8)
    assert torch.equal(taken["y"], torch.cat([taken["x"], -taken["x"]], 1))


def test_what_was_taken_is_not_overwritten():
    buffer = MixingBuffer({"x": 1}, capacity=4)
    buffer.add({"x": numbers(4)})
    buffer.flush()
    taken = buffer.take(4)["x"]
    buffer.add({"x": numbers(4) + 10})
    assert sorted(taken[:, 0].tolist()) == [0, 1, 2, 3]


def mixing(batches, piece):
    """How a served order mixes: spread of the rows' delays, and share of pairs in a batch from the same piece."""
    delays, same = [], []
    at = 0
    for batch in batches:
        row = batch[:, 0].numpy()
        delays.append(at + np.arange(len(row)) - row)
        at += len(row)
        counts = np.bincount((row // piece).astype(int))
        same.append((counts * (counts - 1)).sum() / (len(row) * (len(row) - 1)))
    return np.concatenate(delays).std(), np.mean(same)


def test_mixing_equals_that_of_saelens_buffer_of_the_same_size():
    """Same pool, half of it kept at each refill: the same distribution, so both statistics agree in the long run."""
    from sae_lens.training.mixing_buffer import mixing_buffer

    n, capacity, piece, batch = 1 << 17, 2048, 64, 32
    torch.manual_seed(0)
    theirs = [b.clone() for b in mixing_buffer(capacity, batch, iter(pieces_of(n, piece)))]
    ours = list(through(MixingBuffer({"x": 1}, capacity=capacity), pieces_of(n, piece), batch))
    (delay, same), (their_delay, their_same) = mixing(ours, piece), mixing(theirs, piece)
    assert delay == pytest.approx(their_delay, rel=0.02)
    assert same == pytest.approx(their_same, rel=0.03)
    # The delay is geometric in refills of capacity / 2 rows with a uniform place in each: its spread has a closed form.
    half = capacity / 2
    assert delay == pytest.approx(np.sqrt(2 * half**2 + half**2 / 6), rel=0.03)
    assert same < 4 * piece / capacity


def test_state_is_all_that_is_needed_to_go_on():
    first = MixingBuffer({"x": 1}, capacity=32, seed=3)
    first.add({"x": numbers(32)})
    first.line_up()
    first.take(5)
    state = {name: value.clone() for name, value in first.state().items()}
    again = MixingBuffer({"x": 1}, capacity=32, seed=3)
    again.restore(state)
    rest = [list(through(b, [numbers(40) + 100], 4)) for b in (first, again)]
    assert all(torch.equal(a, b) for a, b in zip(*rest, strict=True))
    assert sorted(torch.cat(rest[0])[:, 0].tolist())[-40:] == list(range(100, 140))


def test_seeds_differ():
    def order(seed):
        return torch.cat(list(through(MixingBuffer({"x": 1}, capacity=64, seed=seed), pieces_of(64, 64), 8)))

    assert torch.equal(order(0), order(0))
    assert not torch.equal(order(0), order(1))


def test_more_than_is_lined_up_cannot_be_taken():
    buffer = MixingBuffer({"x": 1}, capacity=8)
    buffer.add({"x": numbers(8)})
    with pytest.raises(InputError, match=r"3 rows were asked .* has 0 lined up"):
        buffer.take(3)
    with pytest.raises(InputError, match="of 1 rows"):
        MixingBuffer({"x": 1}, capacity=1)
