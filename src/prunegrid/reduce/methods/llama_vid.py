"""LLaMA-VID: one context token that the question draws from the picture, and pooled content tokens (arXiv:2311.17043)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, InstructBlipQFormerConfig, InstructBlipQFormerModel

from prunegrid.reduce.flops import ACTIVATION, LAYER_NORM, SOFTMAX, Flops, Seen, each, linear, product
from prunegrid.reduce.learned import Learned
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.reducer import Host
from prunegrid.reduce.view import PromptText
from prunegrid.shape import ModelShape

QUERIES, HEAD, LENGTH = 32, 64, 256  # learned queries; width of a head; most text tokens
PAD, START, END, BYTES = 0, 1, 2, 3


class ContextToken(nn.Module):
    """features [B, N, C] and B questions -> [B, 1 + content, D].

    A BERT with cross-attention to the features in every second layer reads the question beside 32 learned queries;
    their last hidden states, as wide as the features, look at W_k features, softmax over the patches; what they
    see, raw features, is averaged over the queries and mapped to the language model.
    """

    def __init__(
        self, inputs: int, outputs: int, layers: int, width: int, side: int | None, vocabulary: str | None
    ) -> None:
        super().__init__()
        self.side = side
        self.tokenizer = AutoTokenizer.from_pretrained(vocabulary) if vocabulary else None
        config = InstructBlipQFormerConfig(
            vocab_size=len(self.tokenizer) if self.tokenizer else 256 + BYTES,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // HEAD,
            intermediate_size=4 * width,
            encoder_hidden_size=inputs,
        )
        self.reader = InstructBlipQFormerModel(config)
        self.query = nn.Parameter(torch.zeros(1, QUERIES, width).normal_(0, config.initializer_range))
        self.text, self.key = nn.Linear(width, inputs), nn.Linear(inputs, inputs)
        self.value = nn.Linear(inputs, outputs)

    def forward(
        self, features: Tensor, project: Callable[[Tensor], Tensor], prompt: Sequence[PromptText]
    ) -> Tensor:
        if len(prompt) != len(features):
            raise ValueError(
                f"LLaMAVID reads the question: {len(prompt)} prompts were given for {len(features)} pictures"
            )
        asked = self.read(features, prompt)
        look = asked @ self.key(features).transpose(1, 2) * features.shape[2] ** -0.5
        context = self.value((look.softmax(-1) @ features).mean(1, keepdim=True))
        return torch.cat([context, project(self.content(features))], 1)

    def read(self, features: Tensor, prompt: Sequence[PromptText]) -> Tensor:
        """[B, 32, C]: what the questions ask of their pictures."""
        ids = [torch.tensor(self.encode(p.question), device=features.device) for p in prompt]
        padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
        length = torch.tensor([len(i) for i in ids], device=features.device)
        mask = torch.arange(padded.shape[1], device=features.device) < length[:, None]
        mask = F.pad(mask, (QUERIES, 0), value=True)[:, None, None]
        # additive and in four dimensions it is taken as it is; from two, a wait would find out whether it masks at all
        masked = torch.zeros_like(mask, dtype=features.dtype).masked_fill(
            ~mask, torch.finfo(features.dtype).min
        )
        query = self.query.expand(len(features), -1, -1)
        out = self.reader(padded, masked, query_embeds=query, encoder_hidden_states=features)
        asked: Tensor = self.text(out.last_hidden_state[:, :QUERIES])
        return asked

    def encode(self, text: str) -> list[int]:
        """Token ids, the last ones where there are too many; without a vocabulary: UTF-8 bytes."""
        if self.tokenizer:
            ids = list(self.tokenizer(text)["input_ids"])
            return [ids[0], *ids[1:-1][-(LENGTH - 2) :], ids[-1]]
        return [START, *(b + BYTES for b in text.encode()[-(LENGTH - 2) :]), END]

    def content(self, features: Tensor) -> Tensor:
        """[B, content, C]: all patches, or the means of a grid of square cells."""
        if self.side is None:
            return features
        grid = round(features.shape[1] ** 0.5)
        cell = grid // self.side
        pooled = F.avg_pool2d(features.transpose(1, 2).unflatten(2, (grid, grid)), cell)
        return pooled.flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class LLaMAVID(Learned):
    """1 + `side`^2 tokens: the context token, then averages of a side x side grid (1: their mean; null: all patches)
    through the model's own projector. 8 gives 65 tokens; IVTP calls that 64.

    Official code dvlab-research/LLaMA-VID at b3d3ae2. Differs: the raw BERT variant (the official default starts
    from InstructBLIP's weights over another tower); all pictures of a batch at once; `vocabulary` is the folder of a
    BERT tokenizer, without one the text is read byte by byte.
    [B, N, C] -> [B, 1 + side^2, D].
    Cost: a BERT over 32 + text tokens, that in every second layer looks at the patches (4 N C `width` for their keys
    and values), 2 N C^2 for the keys of the context token and 4 x 32 N C for its look: 32 x N, nothing of N x N. No
    sync.
    """

    side: int | None = 8
    layers: int = 12
    width: int = 768
    vocabulary: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 1 or self.width < HEAD or self.width % HEAD:
            raise ValueError(
                f"LLaMAVID: layers={self.layers} must be at least 1 and width={self.width} a multiple of {HEAD}"
            )

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        grid = shape.vision.side
        if self.side is not None and (self.side < 1 or grid % self.side):
            divisors = [d for d in range(1, grid + 1) if grid % d == 0]
            raise ValueError(
                f"LLaMAVID: side={self.side} must divide the {grid} patches per side: {divisors}"
            )
        return (Site(Place.PROJECTOR),)

    def build(self, shape: ModelShape) -> nn.Module:
        inputs, outputs = shape.projector.inputs, shape.projector.outputs
        return ContextToken(inputs, outputs, self.layers, self.width, self.side, self.vocabulary)

    def flops(self, host: Host, seen: Seen) -> Flops | None:
        if not isinstance(host.module, ContextToken) or seen.text is None:
            return None
        inputs, outputs, n = (
            host.shape.projector.inputs,
            host.shape.projector.outputs,
            seen.features(host.shape),
        )
        made = self._reader(inputs, n, QUERIES + len(host.module.encode(seen.text.question)))
        made += linear(self.width, inputs, QUERIES) + linear(inputs, inputs, n) + linear(inputs, outputs, 1)
        made += product(QUERIES, 2 * inputs, n) + each(SOFTMAX, QUERIES, n) + each(1, QUERIES, inputs)
        return made + each(self.side is not None, n, inputs)

    def _reader(self, inputs: int, patches: int, tokens: int) -> Flops:
        """Operations of the BERT over `tokens`, queries included."""
        width, heads, made = self.width, self.width // HEAD, Flops()
        for i in range(self.layers):
            made += linear(width, width, 4 * tokens) + linear(width, 4 * width, tokens)
            made += linear(4 * width, width, tokens) + each(
                4 * ACTIVATION + 2 * LAYER_NORM + 2, tokens, width
            )
            made += Flops(4 * tokens**2 * width, SOFTMAX * tokens**2 * heads)
            if i % 2 == 0:
                made += linear(width, width, 2 * QUERIES) + linear(inputs, width, 2 * patches)
                made += Flops(4 * QUERIES * patches * width, SOFTMAX * QUERIES * patches * heads)
        return made + each(LAYER_NORM, tokens, width)
