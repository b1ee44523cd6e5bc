"""Attention behind masks: windows, chunks, all of the past; by torch's op and written out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tile.bands.laws import Law, laws

TOKENS = (2, 24, 8)
INF = float("inf")


def places(size: int) -> tuple[Tensor, Tensor]:
    """Of queries and keys."""
    at = torch.arange(size)
    return at[:, None], at[None]


MASKS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "causal": lambda q, k: q >= k,
    "window": lambda q, k: (q >= k) & (q - k < 5),
    "around": lambda q, k: (q - k).abs() < 4,
    "chunk": lambda q, k: q // 6 == k // 6,
    "past chunks": lambda q, k: q // 6 >= k // 6,
    "every third": lambda q, k: (q >= k) & ((q - k) % 3 == 0),
    "first and near": lambda q, k: (k < 2) | ((q >= k) & (q - k < 3)),
}


def heads(x: Tensor, mix: nn.Module) -> list[Tensor]:
    """Queries, keys and values: (batch, head, position, feature)."""
    return [part.unflatten(-1, (2, -1)).transpose(1, 2) for part in mix(x).chunk(3, -1)]


def joined(x: Tensor) -> Tensor:
    """Heads side by side again."""
    return x.transpose(1, 2).flatten(2)


def fused(x: Tensor, mix: nn.Module, mask: str) -> Tensor:
    """By torch's own op."""
    query, key, value = heads(x, mix)
    seen = MASKS[mask](*places(x.shape[1]))
    return joined(F.scaled_dot_product_attention(query, key, value, attn_mask=seen))


def filled(x: Tensor, mix: nn.Module, mask: str) -> Tensor:
    """Scores of which some are filled."""
    query, key, value = heads(x, mix)
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) / 2
    scores = scores.masked_fill(~MASKS[mask](*places(x.shape[1])), -INF)
    return joined(torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), value))


def added(x: Tensor, mix: nn.Module, table: Tensor, mask: str) -> Tensor:
    """Scores with a bias by distance, to which a mask is added; heads in the batch in between."""
    query, key, value = (part.flatten(0, 1) for part in heads(x, mix))
    at, to = places(x.shape[1])
    bias = table[:, (at - to).clamp(-9, 9) + 9] + torch.where(MASKS[mask](at, to), 0.0, -INF)
    scores = (query @ key.transpose(1, 2)).unflatten(0, (x.shape[0], 2)) + bias
    weights = scores.softmax(-1, dtype=torch.float64).to(x.dtype).flatten(0, 1)
    return joined((weights @ value).unflatten(0, (x.shape[0], 2)))


def linear(x: Tensor, mix: nn.Module) -> Tensor:
    """Without a softmax: scores that a triangle keeps."""
    query, key, value = mix(x).chunk(3, -1)
    return (query @ key.transpose(1, 2)).tril(1) @ value


def turned(x: Tensor, mix: nn.Module) -> Tensor:
    """With keys before queries, and a softmax over the first of the two axes."""
    query, key, value = mix(x).chunk(3, -1)
    scores = key @ query.transpose(1, 2)
    hidden = ~MASKS["window"](*places(x.shape[1])).T
    return scores.masked_fill(hidden, -INF).softmax(1).transpose(1, 2) @ value


def rotated(x: Tensor, mix: nn.Module) -> Tensor:
    """Causal, with queries and keys that are turned by their position."""
    query, key, value = heads(x, mix)
    angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1]).to(x)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def turn(y: Tensor) -> Tensor:
        left, right = y.chunk(2, -1)
        return y * cos + torch.cat([-right, left], -1) * sin

    y = F.scaled_dot_product_attention(turn(query), turn(key), value, is_causal=True)
    return joined(y)


def grouped(x: Tensor, mix: nn.Module) -> Tensor:
    """Queries of four heads that share keys of two."""
    query, key, value = (part.unflatten(-1, (-1, 4)).transpose(1, 2) for part in
                         mix(x).split((16, 8, 8), -1))  # fmt: skip
    y = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    return joined(y)


class Causal(nn.Module):
    """A layer of torch's own transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x)
        return self.layer(x, src_mask=mask, is_causal=True)


NOT_TILED = "reads? the whole axis|it reads nothing that moves with it"
BOUNDED = ("window", "around", "chunk")
ATTENTIONS = {
    **{
        f"{way}, {mask}": Law(
            partial(function, mask=mask), TOKENS, 1, (nn.Linear(8, 24), *tables),
            live="depends on the total length" if mask == "first and near" else True,
            tile=6 if way == "fused" and mask in BOUNDED else NOT_TILED,
        )
        for mask in MASKS
        for way, function, *tables in (
            ("fused", fused), ("filled", filled), ("added", added, torch.randn(2, 19)),
        )
    },
    **laws(
        a_product_with_a_triangle=Law(
            linear, TOKENS, 1, (nn.Linear(8, 24),), tile=NOT_TILED
        ),
        keys_before_queries=Law(turned, TOKENS, 1, (nn.Linear(8, 24),), tile=NOT_TILED),
        rotated=Law(rotated, TOKENS, 1, (nn.Linear(8, 24),),
                    tile=NOT_TILED),
        grouped=Law(grouped, TOKENS, 1, (nn.Linear(8, 32),), tile=NOT_TILED),
        a_layer=Law(lambda x, layer: layer(x), TOKENS, 1, (Causal(),), tile=NOT_TILED),
        heads_of_a_batch=Law(partial(filled, mask="window"), (12, 8, 8), 0, (nn.Linear(8, 24),)),
    ),
}  # fmt: skip
