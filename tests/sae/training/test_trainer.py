import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.architectures import ARCHITECTURES, training_sae
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.trainer import CURVE, Trainer

STEPS, SCALE = 24, 0.7


@pytest.fixture(scope="module")
def rows(planted):
    return torch.from_numpy(planted(n=STEPS * 32, d=16, m=32, scale=2.0)[0])


def new(rows, architecture="topk", **settings):
    recipe = Recipe(architecture, width=48, k=3, **settings).filled(len(rows), rows.shape[1])
    return Trainer(recipe, d=rows.shape[1], steps=STEPS, mean=rows.mean(0), scale=SCALE, patience=5)


def fed(trainer, rows, first=0, last=STEPS):
    for batch in rows.split(32)[first:last]:
        trainer.step(batch)
    return trainer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_trains_as_saelens_own_trainer_does(rows, architecture):
    """The same batches, rate and penalties through SAELens' SAETrainer lead to the same weights."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    own = new(rows, architecture, learning_rate=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = training_sae(architecture, d=16, width=48, k=3, l1=2.0, steps=STEPS)
    sae.b_dec.data.copy_(rows.mean(0) * SCALE)
    config = SAETrainerConfig(
        n_checkpoints=0, checkpoint_path=None, save_final_checkpoint=False, total_training_samples=len(rows),
        device="cpu", autocast=False, lr=1e-3, lr_end=1e-4, lr_scheduler_name="constant", lr_warm_up_steps=0,
        adam_beta1=0.9, adam_beta2=0.999, lr_decay_steps=0, n_restart_cycles=1, train_batch_size_samples=32,
        dead_feature_window=5, feature_sampling_window=1000, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    theirs = SAETrainer(config, sae, iter(()))
    for batch in rows.split(32):
        own.step(batch)
        rate = own._adam.param_groups[0]["lr"]
        theirs.optimizer.param_groups[0]["lr"] = rate
        theirs.step(batch * SCALE)
        theirs.n_training_steps += 1
    for name, weight in own.state().items():
        if name.startswith("weights."):
            expected = sae.state_dict()[name.removeprefix("weights.")]
            torch.testing.assert_close(
                weight, expected, atol=1e-4, rtol=1e-3, msg=lambda words, n=name: f"{n}: {words}"
            )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_restored_it_goes_on_with_the_same_bytes(rows, architecture):
    whole = fed(new(rows, architecture), rows)
    first = fed(new(rows, architecture), rows, 0, 11)
    state = {name: value.clone() for name, value in first.state().items()}
    fed(first, rows, 11)  # a state is a copy: later steps leave it alone
    second = new(rows, architecture)
    second.restore(state)
    assert (second.step_number, second.loss) == (11, whole.curve[10]["loss"])
    fed(second, rows, 11)
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name
    assert second.curve == whole.curve == first.curve
    assert np.array_equal(whole.finish().decoder, second.finish().decoder)


def test_a_state_before_the_first_step_is_one(rows):
    second = new(rows)
    second.restore(new(rows).state())
    assert torch.equal(fed(second, rows).state()["weights.W_dec"], fed(new(rows), rows).state()["weights.W_dec"])


def test_a_state_of_another_training_is_refused(rows):
    state = new(rows).state()
    with pytest.raises(MismatchError, match=r"W_enc .*\(16, 48\)|W_dec .*\(48, 16\)|b_enc .*\(48,\)"):
        Trainer(Recipe(width=40, k=3).filled(99, 16), d=16, steps=5, mean=rows.mean(0), scale=1.0).restore(state)
    with pytest.raises(MismatchError, match="absent"):
        new(rows, "gated").restore(state)


def test_the_state_goes_through_a_safetensors_file(rows, tmp_path):
    from safetensors.torch import load_file, save_file

    state = fed(new(rows), rows, 0, 5).state()
    save_file(state, tmp_path / "state.safetensors")
    second = new(rows)
    second.restore(load_file(tmp_path / "state.safetensors"))
    again = second.state()
    assert state.keys() == again.keys() and all(torch.equal(state[name], again[name]) for name in state)


def test_the_result_reads_and_writes_raw_units(rows):
    trainer = fed(new(rows, "batchtopk"), rows)
    sae = trainer.finish({"mechdecouple": {"rows": 7}, "hook_name": "blocks.0", "model_name": "toy"})
    raw, training = rows.numpy(), trainer._sae
    with torch.no_grad():
        # In use a fixed threshold stands in for the choice among a batch, so the codes are compared with that rule.
        codes, norms = rows * SCALE - training.b_dec, training.W_dec.norm(dim=1)
        codes = (codes @ training.W_enc + training.b_enc) * norms
        codes = codes * (codes > training.topk_threshold)
        rebuilt = (codes / norms) @ training.W_dec + training.b_dec
    assert (codes > 0).any()
    np.testing.assert_allclose(sae.encode(raw), codes / SCALE, atol=1e-3)
    np.testing.assert_allclose(sae.decode(sae.encode(raw)), rebuilt / SCALE, atol=1e-3)
    assert sae.training["rows"] == 7 and sae.training["activation_scale"] == SCALE
    assert sae.sae.cfg.metadata.hook_name == "blocks.0"
    assert np.array_equal(sae.decoder, trainer.finish().decoder)  # finishing changes nothing


def test_the_curve_says_how_the_training_went(rows):
    trainer = fed(new(rows), rows)
    assert [point["step"] for point in trainer.curve] == list(range(STEPS))
    assert all(tuple(point) == CURVE for point in trainer.curve)
    last = trainer.curve[-1]
    assert last["loss"] == trainer.loss
    assert last["l0"] == 3
    assert 0 <= last["dead"] < 1
    # Without dead latents the loss is the squared error, so the two columns must tell the same.
    batch = rows.split(32)[0] * SCALE
    spread = float((batch - batch.mean(0)).square().sum() / 32)
    assert trainer.curve[0]["fvu"] == pytest.approx(trainer.curve[0]["loss"] / spread, rel=1e-4)
    assert trainer.curve[-1]["fvu"] < trainer.curve[0]["fvu"]
    rates = [point["learning_rate"] for point in trainer.curve]
    assert max(rates) == trainer.recipe.learning_rate
    assert rates[0] < 0.1 * max(rates) and rates[-1] < 0.2 * max(rates)


@pytest.mark.parametrize("steps", [1, 50, 130])
def test_the_curve_has_about_fifty_points(rows, steps):
    recipe = Recipe(width=8, k=1).filled(99, 16)
    trainer = Trainer(recipe, d=16, steps=steps, mean=rows.mean(0), scale=1.0)
    for _ in range(steps):
        trainer.step(rows[:4])
    assert min(steps, 25) <= len(trainer.curve) <= 51
    assert trainer.curve[-1]["step"] == steps - 1


def test_dead_latents_are_helped(rows):
    """Latents that never fire are drawn to what the others leave; a patience beyond the training leaves them alone."""
    alive = []
    for patience in (5, 10**6):
        recipe = Recipe(width=48, k=3, learning_rate=4e-3).filled(len(rows), 16)
        trainer = Trainer(recipe, d=16, steps=200, mean=rows.mean(0), scale=SCALE, patience=patience)
        trainer._sae.b_enc.data[24:] = -0.5
        for step in range(200):
            trainer.step(rows.split(32)[step % STEPS])
        alive.append((trainer.finish().encode(rows.numpy())[:, 24:] > 0).any(0).sum())
    assert alive[0] > alive[1] == 0


def test_training_leaves_the_global_generator_alone(rows):
    before = torch.random.get_rng_state()
    fed(new(rows), rows).finish()
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_cannot_be_trained_is_refused(rows):
    with pytest.raises(InputError, match="open settings"):
        Trainer(Recipe(), d=16, steps=5, mean=rows.mean(0), scale=1.0)
    for architecture in ("topk", "standard"):
        with pytest.raises(InputError, match=r"diverged at step .* lower learning_rate \(was 1e\+30\)"):
            fed(new(rows, architecture, learning_rate=1e30), rows)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"architecture": "dense"}, "unknown SAE architecture 'dense'"),
        ({"k": 40, "width": 20}, "k is 40 but the SAE has only 20"),
        ({"k": 0}, "k is 0"),
        ({"width": 0}, "width is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"l1": -1.0}, "l1 is -1"),
    ],
)
def test_recipes_out_of_range_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Recipe(**settings).filled(1000, 64)


def test_recipes_fill_their_defaults_from_the_data():
    assert Recipe().filled(10**6, 64).width == 256
    assert Recipe().filled(400, 64).width == 100  # a quarter of the rows
    assert Recipe().filled(10, 64).width == 16  # at least 2·k
    assert Recipe().filled(10**6, 10**4).width == 16_384
    assert [Recipe().filled(10**6, d).k for d in (8, 64, 10**4)] == [4, 8, 32]
    assert Recipe(width=2**14).filled(10**6, 64).learning_rate == pytest.approx(4e-4)
    assert Recipe(width=2**16).filled(10**6, 64).learning_rate == pytest.approx(2e-4)
    kept = Recipe("gated", width=7, k=2, l1=0.5, learning_rate=0.1, seed=3, hook_point="h")
    assert kept.filled(10, 10) == kept
