"""The usual alternatives to compare with: stock sentence-transformers modules, stacked hidden states, padded passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import AutoModel, AutoTokenizer, LlamaConfig, TrainerCallback

from poolwise.config import TrainConfig
from poolwise.data import Triple
from poolwise.design import parse_design
from poolwise.kernels.precision import has_fast_bf16
from poolwise.models import build_model, resolve_base
from poolwise.models.attention import set_attention
from poolwise.models.pooling.cross_attention import CrossAttention
from poolwise.training.batches import TripleCollator
from poolwise.training.optimizer import linear_factor

MAX_TOKENS = 512
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def precisions(wanted: Sequence[str]) -> list[str]:
    """Return the precisions that are named, else those a user gets: bf16 where the processor multiplies it fast."""
    named = [name for name in ("fp32", "bf16") if name in wanted]
    return named or ["fp32", *(["bf16"] if has_fast_bf16(DEVICE) else [])]


def save_base(folder: Path, size: str) -> str:
    """Write a base whose tokenizer appends EOS by itself, so that stock modules read the ids that poolwise reads.

    Args:
        size: "nano", the embedded base, or "110M", a Llama of SmolLM's shape with random weights.
    """
    nano = resolve_base("poolwise/nano")
    tokenizer = AutoTokenizer.from_pretrained(nano)
    bos, eos = tokenizer.bos_token, tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(bos, tokenizer.bos_token_id), (eos, tokenizer.eos_token_id)]
    )
    tokenizer.model_max_length = MAX_TOKENS
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(nano) if size == "nano" else AutoModel.from_config(_smollm(tokenizer))
    model.float().save_pretrained(folder)
    return str(folder)


def _smollm(tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def plain_head(head: CrossAttention, states: Tensor, mask: Tensor) -> Tensor:
    """The published order: latents expanded over the batch, then normalised and projected; output projection last."""
    size = head.size
    latents = head.latents.expand(len(states), -1, -1)
    keys = head.norm_states(states)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (size.heads, size.head_dim)).transpose(1, 2)

    query = heads(head.to_query(head.norm_latents(latents)))
    key, value = heads(head.to_key(keys)), heads(head.to_value(keys))
    scores = (query @ key.transpose(-1, -2)).float() / size.head_dim**0.5
    weights = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1)
    first = latents + head.to_out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(-2))
    value, gate = head.ff_in(head.norm_ff(first)).chunk(2, dim=-1)
    return (first + head.ff_out(value * functional.gelu(gate))).mean(dim=1)


class PlainPooling(nn.Module):
    """A trained pooling over stock features: every layer's states of every token, stacked, and a head on them."""

    def __init__(self, pooling: Any, tokens: str) -> None:
        super().__init__()
        self.pooling, self.tokens = pooling, tokens

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        mask = features["attention_mask"].bool()
        if "all_layer_embeddings" in features:
            states, mask = self._layers(torch.stack(features["all_layer_embeddings"][1:], dim=1), mask)
        else:
            states = features["token_embeddings"].float()
            if self.tokens == "last":
                states = states[torch.arange(len(states), device=mask.device), mask.sum(dim=1) - 1][:, None]
                mask = torch.ones_like(states[..., 0], dtype=torch.bool)
        return {**features, "sentence_embedding": plain_head(self.pooling.head, states, mask).float()}

    def _layers(self, stack: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.tokens == "last":
            states = stack[torch.arange(len(stack), device=mask.device), :, mask.sum(dim=1) - 1].float()
        else:
            states = (stack.float() * mask[:, None, :, None]).sum(dim=2) / mask.sum(dim=1)[:, None, None]
        states = functional.layer_norm(states, states.shape[-1:]) + self.pooling.layers
        return states, torch.ones_like(states[..., 0], dtype=torch.bool)


def stock_model(base: str, text: str, dtype: torch.dtype = torch.float32, seed: int = 1) -> SentenceTransformer:
    """Return a design made of stock modules, a trained head starting as poolwise's does with this seed."""
    design = parse_design(text)
    transformer = Transformer(
        base, max_seq_length=MAX_TOKENS, model_kwargs={"dtype": dtype, "attn_implementation": "sdpa"}
    )
    set_attention(transformer.auto_model, design.attention)
    if design.pooling in ("last", "mean"):
        mode = {"last": "lasttoken", "mean": "mean"}[design.pooling]
        pooling: nn.Module = Pooling(transformer.get_embedding_dimension(), mode)
    else:
        transformer.auto_model.config.output_hidden_states = design.pooling == "multilayer"
        ours = build_model(design, base, method="frozen", seed=seed, max_tokens=MAX_TOKENS)[1]
        pooling = PlainPooling(ours, str(design.option("tokens" if design.pooling == "multilayer" else "keys")))
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device=DEVICE)


class _Clock(TrainerCallback):
    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(time.perf_counter() - self.started)


class _NotedLoss(MultipleNegativesRankingLoss):
    def __init__(self, model: SentenceTransformer, scale: float) -> None:
        super().__init__(model, scale=scale)
        self.values: list[float] = []

    def forward(self, *arguments: Any) -> Tensor:
        value = super().forward(*arguments)
        self.values.append(float(value.detach()))
        return value


class _InOrder(SentenceTransformerTrainer):
    """Takes the rows as they come, as somebody does who has put them in order."""

    def get_batch_sampler(self, dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
        return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


def train_stock(
    base: str, design: str, triples: Sequence[Triple], batches: Sequence[Sequence[int]], config: TrainConfig,
    folder: Path, seed: int = 1,
) -> tuple[SentenceTransformer, list[float], list[float]]:  # fmt: skip
    """Return a stock model trained by sentence-transformers on our batches from our start, its losses and seconds."""
    start = build_model(design, base, max_tokens=config.max_tokens, lora_dropout=0.0, seed=seed)
    model = stock_model(base, design, seed=seed)
    model.max_seq_length = config.max_tokens
    model.add_adapter(LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear"))
    source = {name: weight for name, weight in start[0].model.named_parameters() if "lora_" in name}
    target = {name: weight for name, weight in model[0].auto_model.named_parameters() if "lora_" in name}
    assert source.keys() == target.keys()
    with torch.no_grad():
        for name, weight in target.items():
            weight.copy_(source[name])
    columns = [TripleCollator(start, triples, {}).columns(batch) for batch in batches[: config.steps]]
    names = list(columns[0])
    rows = Dataset.from_dict({name: [text for batch in columns for text in batch[name]] for name in names})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder), max_steps=config.steps, per_device_train_batch_size=config.batch_size,
        use_cpu=DEVICE == "cpu",
        bf16=has_fast_bf16(DEVICE), save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    loss, clock = _NotedLoss(model, scale=1 / config.temperature), _Clock()
    head = [weight for weight in model[1].parameters() if weight.requires_grad]
    groups = [{"params": list(target.values()), "lr": config.learning_rate}]
    groups += [{"params": head, "lr": config.head_learning_rate}] if head else []
    optimizer = AdamW(groups, weight_decay=config.weight_decay)
    warmup = -(-config.steps // 10)
    decay = LambdaLR(optimizer, lambda step: linear_factor(step, config.steps, warmup))
    _InOrder(
        model=model, args=arguments, train_dataset=rows, loss=loss, callbacks=[clock], optimizers=(optimizer, decay)
    ).train()
    return model, loss.values, clock.steps
