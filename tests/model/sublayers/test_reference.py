"""Attention must look where it is allowed to, and nowhere else."""

from __future__ import annotations

import torch

from s2tx.model.attention import Attention
from s2tx.model.sublayers.reference import SUBLAYERS, band


def test_band_lets_a_token_see_its_neighbourhood_and_itself() -> None:
    """Protects from the inverted mask of SST's released code."""
    allowed = band(6, 3, torch.device("cpu"))
    expected = [[abs(i - j) <= 1 for j in range(6)] for i in range(6)]
    assert allowed.tolist() == expected


def test_tokens_outside_the_window_change_nothing() -> None:
    """Protects the local window from leaking."""
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0, SUBLAYERS, window=5)
    x = torch.randn(1, 12, 8)
    far = x.clone()
    far[:, 9:] += 5
    assert (attention(x)[:, :7] == attention(far)[:, :7]).all()


def test_cross_attention_is_the_textbook_formula() -> None:
    """Protects from a wrong scale, a wrong head split or swapped keys and values."""
    torch.manual_seed(0)
    attention = Attention(6, 2, 0.0, SUBLAYERS, cross=True).double()
    x, context = torch.randn(2, 3, 6).double(), torch.randn(2, 5, 6).double()
    assert attention.norm_context is not None
    query = attention.query(attention.norm(x)).view(2, 3, 2, 3)
    key, value = attention.key_value(attention.norm_context(context)).view(2, 5, 2, 2, 3).unbind(2)
    share = torch.softmax(torch.einsum("nqhe,nshe->nhqs", query, key) / 3**0.5, dim=-1)
    read = torch.einsum("nhqs,nshe->nqhe", share, value).reshape(2, 3, 6)
    torch.testing.assert_close(attention(x, context), x + attention.out(read))


def test_order_of_the_context_does_not_matter() -> None:
    """Protects cross-attention from reading keys and values of different tokens."""
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0, SUBLAYERS, cross=True).double()
    x, context = torch.randn(1, 4, 8).double(), torch.randn(1, 7, 8).double()
    shuffled = context[:, torch.randperm(7)]
    torch.testing.assert_close(attention(x, context), attention(x, shuffled))


def test_a_barred_key_might_as_well_not_be_there() -> None:
    """Protects what is read from a patch that holds nothing: the same as from a shorter context."""
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0, SUBLAYERS, cross=True).double()
    x, context = torch.randn(3, 5, 8).double(), torch.randn(3, 7, 8).double()
    barred = torch.zeros(3, 7, dtype=torch.bool)
    barred[:, [1, 4, 6]] = True
    torch.testing.assert_close(attention(x, context, barred), attention(x, context[:, ~barred[0]]))


def test_a_barred_token_still_reads_itself() -> None:
    """Protects from a query without any key, whose softmax is NaN."""
    torch.manual_seed(0)
    attention = Attention(8, 2, 0.0, SUBLAYERS, window=3).double()
    x = torch.randn(2, 6, 8).double()
    dark = attention(x, barred_NS=torch.ones(2, 6, dtype=torch.bool))
    alone = attention(x.reshape(12, 1, 8)).view_as(x)
    torch.testing.assert_close(dark, alone)
