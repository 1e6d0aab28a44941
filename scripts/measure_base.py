"""Measure a base before any embedding training: bits per byte of held-out text, samples, and embedding quality.

python scripts/measure_base.py poolwise/nano [FOLDER ...] --corpus ../shared/data/corpus.jsonl.xz \\
    --eval ../shared/data/eval

--card FOLDER writes the results into the model card in that folder, beside those of the other bases.

Every base reads the same held-out articles in separate, non-overlapping windows of its own tokens; xz, for comparison,
compresses all of them at once. Embeddings use mean and EOS pooling, untrained.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
from pathlib import Path
from typing import Any

import torch
from _card import FIGURES
from _pages import replace_between
from pretrain_nano import CONTEXT, read_articles, split_articles
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from poolwise.encoding.encoder import ModelEncoder
from poolwise.models import build_model, prepare_encoding, resolve_base
from poolwise.tasks import evaluate_task, load_tasks

DESIGNS = ("mean+causal", "mean+bidirectional", "last+causal")
PROMPTS = ("The city of Lisbon is", "In mathematics, a group is", "Symptoms of asthma include")


@torch.inference_mode()
def bits_per_byte(base: str, texts: list[str]) -> float:
    """Return the bits a byte of text costs under the base; EOS is not counted, nor is a window's first token free."""
    model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    start = tokenizer.eos_token_id  # what stood before every document in training
    nats = 0.0
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for begin in range(0, len(ids), CONTEXT - 1):
            window = torch.tensor([[start, *ids[begin : begin + CONTEXT - 1]]])
            logits = model(window, use_cache=False).logits[0, :-1].float()
            nats += functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
    return nats / math.log(2) / sum(len(text.encode()) for text in texts)


@torch.inference_mode()
def samples(base: str) -> list[str]:
    """Return greedy continuations of three beginnings."""
    model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    found = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, repetition_penalty=1.2
        )
        found.append(tokenizer.decode(output[0], skip_special_tokens=True))
    return found


def embeddings(base: str, root: Path, num_items: int) -> dict[str, dict[str, float]]:
    """Return scores of untrained designs on STSBenchmark and SciFact."""
    tasks = load_tasks([str(root / name) for name in ("sts/STSBenchmark", "retrieval/SciFact")], max_items=num_items)
    found: dict[str, dict[str, float]] = {}
    for design in DESIGNS:
        model = prepare_encoding(build_model(design, base, method="frozen", max_tokens=128))
        encoder = ModelEncoder(model)
        found[design] = {task.name: round(evaluate_task(task, encoder).score, 4) for task in tasks}
    return found


def figures_table(found: dict[str, Any], command: str) -> str:
    """Return the figures of every base side by side as Markdown, and the samples of the last."""
    bases = {name: row for name, row in found.items() if isinstance(row, dict) and "embeddings" in row}
    lines = [
        f"`{command}`: {found['articles']} held-out articles, {found['bytes']:,} bytes.",
        "",
        f"| | {' | '.join(bases)} | xz |",
        "| :--- |" + " ---: |" * (len(bases) + 1),
        f"| Bits per byte | {' | '.join(str(row['bits_per_byte']) for row in bases.values())} "
        f"| {found['xz']['bits_per_byte']:.4f} |",
    ]
    for design in DESIGNS:
        for task in next(iter(bases.values()))["embeddings"][design]:
            scores = " | ".join(f"{row['embeddings'][design][task]:.4f}" for row in bases.values())
            lines.append(f"| `{design}` untrained, {task} | {scores} | |")
    lines += ["", "Greedy samples of the last (repetition penalty 1.2):", ""]
    return "\n".join(
        [*lines, *(f"> {sample.replace(chr(10), ' ')}\n" for sample in list(bases.values())[-1]["samples"])]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="+")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--eval", type=Path, required=True)
    parser.add_argument("--articles", type=int, default=200, help="held-out articles to read")
    parser.add_argument("--max-items", type=int, default=1000)
    parser.add_argument("--names", nargs="*", help="what the card calls the bases, in order")
    parser.add_argument("--card", type=Path, help="the folder of a base whose model card takes the figures")
    args = parser.parse_args()
    texts = [text for _, text in split_articles(read_articles(args.corpus))[1][: args.articles]]
    raw = "\n".join(texts).encode()
    result: dict[str, Any] = {"xz": {"bits_per_byte": 8 * len(lzma.compress(raw, preset=9)) / len(raw)}}
    for base, name in zip(args.bases, args.names or args.bases, strict=True):
        place = resolve_base(base)
        result[name] = {
            "bits_per_byte": round(bits_per_byte(place, texts), 4),
            "embeddings": embeddings(place, args.eval, args.max_items),
            "samples": samples(place),
        }
    result = {"articles": len(texts), "bytes": len(raw), **result}
    print(json.dumps(result, indent=2))
    if args.card:
        card = args.card / "README.md"
        sizes = f"--articles {args.articles} --max-items {args.max_items}"
        command = (
            f"python scripts/measure_base.py {' '.join(args.bases)} --corpus {args.corpus} --eval {args.eval} {sizes}"
        )
        card.write_text(replace_between(card.read_text(), FIGURES, figures_table(result, command)))


if __name__ == "__main__":
    main()
