"""Train a small Llama and its tokenizer from scratch on a text file: the embedded base ``poolwise/nano``.

python scripts/pretrain_nano.py --corpus ../shared/data/corpus.jsonl.xz --out runs/nano --tokens 12e6

Reads JSON lines {"title", "text"} (plain, .gz or .xz). Writes OUT/tokenizer, OUT/tokens.npy, OUT/checkpoint.pt (the
same command resumes from it), OUT/log.jsonl, and OUT/model: a Hugging Face folder in bf16 with a model card.
`scripts/measure_base.py` measures its quality.

Documents are titles and passages, each followed by EOS. Those of one article are consecutive, so that the state at EOS
learns to predict the start of the article's next passage or title. If EOS is followed by another article, the base
learns nothing there, and EOS pooling starts from the same embedding for all texts (docs/log.md).
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import math
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _card import card_text, write_card
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCAB_SIZE, CONTEXT = 8192, 512
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
PASSAGE_CHARS = 700  # about 170 tokens: two or three passages of an article share a window of 512
HELD_OUT = 100  # one article in so many is held out, by its place in the shuffled corpus
SAVE_SECONDS = 300


def read_articles(path: Path) -> list[tuple[str, str]]:
    """Return (title, text) of every line, shuffled by a fixed seed."""
    openers = {".xz": lzma.open, ".gz": gzip.open}
    with openers.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    random.Random(0).shuffle(rows)
    return [(row["title"].strip(), row["text"].strip()) for row in rows]


def split_articles(articles: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the articles to train on and the held-out ones."""
    return [a for i, a in enumerate(articles) if i % HELD_OUT], articles[::HELD_OUT]


def passages(text: str) -> list[str]:
    """Return a text cut at line ends, or sentence ends where a line is long, into parts of about PASSAGE_CHARS."""
    parts = [""]
    for piece in re.split(r"(?<=\n)|(?<=[.!?] )(?=[A-Z\"'(])", text):
        if len(parts[-1]) + len(piece) < PASSAGE_CHARS:
            parts[-1] += piece
        else:
            parts.append(piece)
    return [part.strip() for part in parts if part.strip()]


def documents(article: tuple[str, str], rng: random.Random) -> list[str]:
    """Return an article's title and passages; the title is first, or after the first passage, which it then sums up."""
    title, text = article
    parts = passages(text)
    if title and parts:
        parts.insert(rng.randrange(2), title)
    return parts


def train_tokenizer(articles: list[tuple[str, str]], folder: Path) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer made from a tenth of the articles, and write it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((f"{title}\n{text}" for title, text in articles[::10]), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, model_max_length=CONTEXT
    )
    fast.save_pretrained(folder)
    return fast


def tokenise(articles: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast, path: Path) -> np.ndarray:
    """Return the articles as one stream of ids, EOS after every document, and write it."""
    rng, eos, stream = random.Random(1), tokenizer.eos_token_id, []
    for start in range(0, len(articles), 1000):
        texts = [text for article in articles[start : start + 1000] for text in documents(article, rng)]
        for ids in tokenizer.backend_tokenizer.encode_batch_fast(texts):
            stream.append(np.array([*ids.ids, eos], dtype=np.uint16))
    tokens = np.concatenate(stream)
    np.save(path, tokens)
    return tokens


def build_model(args: argparse.Namespace) -> LlamaForCausalLM:
    """Return a Llama with tied embeddings: drawn from a fixed seed, or an earlier one that is trained further."""
    if args.start:
        return LlamaForCausalLM.from_pretrained(args.start, dtype=torch.float32)
    torch.manual_seed(args.seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=args.hidden,
        intermediate_size=round(args.hidden * 8 / 3 / 64) * 64,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        num_key_value_heads=max(1, args.hidden // 128),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=False,
    )
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):  # every layer starts as the identity
            nn.init.zeros_(weight)
    return model


def build_optimizers(model: LlamaForCausalLM, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    return [
        torch.optim.Muon(matrices, lr=args.muon_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=args.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate(step: int, num_steps: int) -> float:
    """Return the share of the learning rate at a step: warm-up, stable, and a linear decay over the last 40%."""
    warm_up, decay = min(100, num_steps // 10), max(1, int(0.4 * num_steps))
    return min((step + 1) / warm_up if warm_up else 1.0, 1.0, (num_steps - step) / decay)


def windows(tokens: np.ndarray, num_steps: int, start: int, batch: int) -> Iterator[Tensor]:
    """Yield batches (B T+1) of windows that cover the stream once an epoch, in an order that the step decides."""
    per_epoch = (len(tokens) - 1) // CONTEXT
    orders: dict[int, np.ndarray] = {}
    for step in range(start, num_steps):
        rows = []
        for place in range(step * batch, (step + 1) * batch):
            epoch, index = divmod(place, per_epoch)
            if epoch not in orders:
                orders = {epoch: np.random.default_rng(epoch).permutation(per_epoch), **orders}
            # Every epoch cuts the stream elsewhere.
            begin = (orders[epoch][index] * CONTEXT + epoch * 131) % (len(tokens) - CONTEXT)
            rows.append(tokens[begin : begin + CONTEXT + 1].astype(np.int64))
        yield torch.from_numpy(np.stack(rows))


class Loss(nn.Module):
    """Next-token cross entropy of a batch; logits are made a part of the batch at a time."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Return the mean loss over (B T+1) ids, in nats a token."""
        states = self.model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        logits = self.model.lm_head(states.flatten(0, 1))
        return functional.cross_entropy(logits.float(), ids[:, 1:].flatten())


def save_checkpoint(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], step: int) -> None:
    """Write everything that going on needs, whole or not at all."""
    state = {"step": step, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the Hugging Face folder, weights in bf16."""
    half = LlamaForCausalLM(model.config).to(torch.bfloat16)
    half.load_state_dict(model.state_dict())
    half.config.use_cache = True
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def training_text(args: argparse.Namespace, num_tokens: int, num_steps: int) -> str:
    """Return how the model was trained, for its card: settings, and what the log says."""
    rows = [json.loads(line) for line in (args.out / "log.jsonl").open()]
    losses = [row["loss"] for row in rows[-50:]]
    start = f"from `{args.start}`" if args.start else "from random weights"
    command = f"python scripts/pretrain_nano.py --corpus {args.corpus} --out {args.out} --tokens {args.tokens:g}"
    options = f"{f' --start {args.start}' if args.start else ''} --lr {args.lr:g} --muon-lr {args.muon_lr:g}"
    return f"""`{command}{options}`

{num_steps * args.batch * CONTEXT / 1e6:.2f} M tokens, {start}, in {num_steps} steps of {args.batch} windows of
{CONTEXT} tokens out of a stream of {num_tokens / 1e6:.1f} M. Muon for the layers' matrices, AdamW for the rest;
warm-up, stable rate, linear decay over the last 40%; bf16 autocast. Mean loss of the last {len(losses)} steps:
{sum(losses) / len(losses):.2f} nats a token."""


def prepare(args: argparse.Namespace) -> tuple[PreTrainedTokenizerFast, np.ndarray]:
    """Return tokenizer and token stream, made at the first call and read at later ones."""
    folder, stream = args.out / "tokenizer", args.out / "tokens.npy"
    if folder.is_dir() and stream.is_file():
        return PreTrainedTokenizerFast.from_pretrained(folder), np.load(stream, mmap_mode="r")
    train, _ = split_articles(read_articles(args.corpus))
    if args.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.start)
        tokenizer.save_pretrained(folder)
    else:
        tokenizer = train_tokenizer(train, folder)
    return tokenizer, tokenise(train, tokenizer, stream)


def train(args: argparse.Namespace) -> None:
    """Train until the wanted number of tokens was read; an interrupt saves and stops."""
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer, tokens = prepare(args)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_model(args).to(device)
    optimizers = build_optimizers(model, args)
    checkpoint, start = args.out / "checkpoint.pt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        start = state["step"]
    num_steps = math.ceil(args.tokens / (args.batch * CONTEXT))
    rates = [group["lr"] for o in build_optimizers(model, args) for group in o.param_groups]
    loss_of = Loss(model)
    compiled: Any = torch.compile(loss_of) if args.compile else loss_of
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _frame: stopped.append(n))
    num_weights = sum(weight.numel() for weight in model.parameters())
    print(f"{len(tokens):,} tokens, {num_weights:,} parameters, steps {start} to {num_steps}", flush=True)
    saved = began = time.monotonic()
    with (args.out / "log.jsonl").open("a") as log:
        for step, ids in enumerate(windows(tokens, num_steps, start, args.batch), start):
            for group, full in zip((g for o in optimizers for g in o.param_groups), rates, strict=True):
                group["lr"] = full * rate(step, num_steps)
            with torch.autocast(device, torch.bfloat16):
                loss = compiled(ids.to(device))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            value = loss.item()
            if not math.isfinite(value):
                sys.exit(f"the loss is {value} at step {step}; lower --muon-lr or --lr and start from {checkpoint}")
            speed = (step + 1 - start) * args.batch * CONTEXT / (time.monotonic() - began)
            log.write(json.dumps({"step": step, "loss": round(value, 4), "tokens_per_second": round(speed)}) + "\n")
            log.flush()
            if step % 20 == 0:
                left = (num_steps - step) * args.batch * CONTEXT / speed / 60
                print(
                    f"step {step}/{num_steps} loss {value:.3f}, {speed:,.0f} tokens/s, {left:.0f} min left", flush=True
                )
            if stopped or time.monotonic() - saved > SAVE_SECONDS:
                save_checkpoint(checkpoint, model, optimizers, step + 1)
                saved = time.monotonic()
            if stopped:
                sys.exit(f"stopped after step {step}; the same command goes on")
    save_checkpoint(checkpoint, model, optimizers, num_steps)
    save_model(model, tokenizer, args.out / "model")
    write_card(args.out / "model", card_text(model.config, num_weights, training_text(args, len(tokens), num_steps)))
    print(args.out / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a Llama folder to train further, with its tokenizer")
    parser.add_argument("--tokens", type=float, required=True, help="tokens to read in all")
    parser.add_argument("--batch", type=int, default=16, help=f"windows of {CONTEXT} tokens a step")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--lr", type=float, default=4e-3, help="AdamW, for embeddings and norms")
    parser.add_argument("--muon-lr", type=float, default=1e-2, help="Muon, scaled to the size of AdamW's updates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
