from __future__ import annotations

import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.models import Batch, build, wrap


def test_capture_equals_run_with_cache(hooked, padded):
    model = wrap(hooked, "toy")
    alone = Batch(padded.tokens[:1])
    with torch.no_grad():
        logits, cache = hooked.run_with_cache(alone.tokens)
        got = model.forward(alone, capture=model.hook_points)
    torch.testing.assert_close(got.logits, logits)
    for point in model.hook_points:
        torch.testing.assert_close(got.activations[point], cache[point], msg=point)
    assert model.layer_points == ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def test_batched_equals_one_by_one(hooked, padded):
    model = wrap(hooked, "toy")
    points = [p for p in model.hook_points if "pattern" not in p and "scores" not in p]
    with torch.no_grad():
        batched = model.forward(padded, capture=points)
        for i, n in enumerate(padded.mask.sum(1).tolist()):
            alone = model.forward(Batch(padded.tokens[i : i + 1, :n]), capture=points)
            torch.testing.assert_close(batched.logits[i, :n], alone.logits[0], rtol=0, atol=1e-5)
            for point in points:
                torch.testing.assert_close(
                    batched.activations[point][i, :n], alone.activations[point][0], rtol=0, atol=1e-5
                )


def test_widths_are_the_shapes_that_come_out(hooked, padded):
    model = wrap(hooked, "toy")
    points = [p for p in model.hook_points if "pattern" not in p and "scores" not in p]
    got = model.forward(padded, capture=points, logits=False).activations
    assert {p: got[p].shape[2:].numel() for p in points} == {p: model.width(p) for p in points}


def test_early_stop_runs_nothing_deeper(hooked, padded):
    model, ran = wrap(hooked, "toy"), []
    handle = hooked.blocks[1].register_forward_pre_hook(lambda m, a: ran.append(1))
    model.forward(padded, capture=["blocks.0.hook_resid_post"], logits=False)
    handle.remove()
    assert ran == []
    assert not any(p.fwd_hooks for p in hooked.hook_dict.values())


def test_zero_at_the_last_residual_is_the_head_of_zero(hooked, padded):
    got = wrap(hooked).forward(padded, edits={"blocks.1.hook_resid_post": lambda x, b: torch.zeros_like(x)}).logits
    torch.testing.assert_close(got, hooked.unembed(hooked.ln_final(torch.zeros(3, 6, 16))))


def test_patching_its_own_activations_changes_nothing(hooked, padded):
    model = wrap(hooked)
    clean = model.forward(padded, capture=model.hook_points)
    for point in ("hook_embed", "blocks.0.attn.hook_z", "blocks.1.mlp.hook_post", "blocks.1.hook_resid_mid"):
        again = model.forward(padded, edits={point: lambda x, b, p=point: clean.activations[p]})
        torch.testing.assert_close(again.logits[padded.mask], clean.logits[padded.mask])


def test_folding_keeps_the_function(hooked, padded):
    folded = wrap(hooked, processing="fold_ln")
    assert folded.processing == "fold_ln" and wrap(folded.module).processing == "fold_ln"
    plain = wrap(hooked).forward(padded, capture=["blocks.1.hook_resid_post"])
    got = folded.forward(padded, capture=["blocks.1.hook_resid_post"])
    torch.testing.assert_close(got.logits[padded.mask], plain.logits[padded.mask], rtol=0, atol=1e-4)
    assert hooked.cfg.normalization_type == "LN"
    assert wrap(wrap(hooked, "a"), "b", processing="fold_ln").processing == "fold_ln"


def test_without_normalisation_both_processings_are_the_same(padded):
    config = dict(
        n_layers=1, d_model=16, d_head=8, n_heads=2, d_vocab=20, n_ctx=8, act_fn="relu", normalization_type=None
    )
    toy = build(config)
    a, b = wrap(toy).forward(padded), wrap(toy, processing="fold_ln").forward(padded)
    assert torch.equal(a.logits, b.logits)


def test_a_tokenizer_that_pads_left_does_not_mislead(hooked, padded, tokenizer):
    import copy

    left = copy.deepcopy(tokenizer)
    left.padding_side = "left"
    twin = copy.deepcopy(hooked)
    twin.tokenizer = left
    batch = Batch(torch.tensor([[0, 7, 8, 0]]))
    torch.testing.assert_close(wrap(twin).forward(batch).logits, wrap(hooked).forward(batch).logits)
    del padded


def test_unknown_hook_point_names_those_close_to_it(hooked, padded):
    with pytest.raises(ModelError, match=r"no hook point 'blocks\.0\.hook_resid_pots'.*blocks\.0\.hook_resid_post"):
        wrap(hooked).forward(padded, capture=["blocks.0.hook_resid_pots"])


def test_folding_is_refused_where_positions_are_added_inside_attention():
    config = {"n_layers": 1, "d_model": 8, "n_heads": 2, "d_head": 4, "d_mlp": 16, "n_ctx": 8, "d_vocab": 12}
    config |= {"act_fn": "relu", "normalization_type": "LN", "positional_embedding_type": "shortformer"}
    with pytest.raises(ModelError, match="shortformer"):
        wrap(build(config), processing="fold_ln")
