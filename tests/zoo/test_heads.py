import torch

from mechdecouple.zoo.heads import ContextHeads


def test_each_row_is_read_by_its_contexts_head():
    heads, x, context = ContextHeads(3, 2, 4), torch.randn(5, 4), torch.tensor([0, 2, 1, 2, 0])
    expected = torch.stack([heads.weight[c] @ row + heads.bias[c] for row, c in zip(x, context, strict=True)])
    torch.testing.assert_close(heads(x, context), expected)
