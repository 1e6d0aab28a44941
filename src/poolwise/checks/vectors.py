"""Checks of the embeddings themselves: finite, distinct, spread, moved by one relevant sentence; and their speed."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch.nn.functional import cosine_similarity, normalize

from poolwise.checks.check import Check
from poolwise.checks.probe_texts import IRRELEVANT, RELEVANT, UNRELATED
from poolwise.checks.subject import Subject

_LENGTHS = (0, 1, 2, 5, 16, 60, 200)
"""Words of the texts of mixed lengths."""
_SPREAD = 0.95
"""Mean cosine that warns. It is 0.05 for all-MiniLM-L6-v2, up to 0.8 for published models with a low temperature."""
_EQUAL = 1e-6
_MOVED = 0.02
"""Movement by one sentence that warns, as a share of the distance between unrelated texts."""
_SENTENCES = 8
_SECONDS = 1.0


def _texts_of_mixed_lengths(subject: Subject) -> list[str]:
    words = " ".join(UNRELATED).split()
    room = subject.room
    return [" ".join(words[:count]) for count in _LENGTHS if count <= 5 or count * 2 <= room]


def check_finite(subject: Subject) -> list[Check]:
    """Return the check for NaN and infinity at mixed lengths, alone and in a batch."""
    texts = _texts_of_mixed_lengths(subject)
    alone = subject.embed_alone(texts).isfinite().all(dim=1)
    batch = subject.embed(texts).isfinite().all(dim=1)
    bad = [
        (how, len(t.split()))
        for how, ok in (("alone", alone), ("in a batch", batch))
        for t, good in zip(texts, ok.tolist(), strict=True)
        if not good
    ]
    measured = {"num_texts": len(texts), "num_bad_alone": int((~alone).sum()), "num_bad_in_batch": int((~batch).sum())}
    if not bad:
        found = f"all, at {len(texts)} lengths up to {len(texts[-1].split())} words, alone and in a batch"
        return [Check("finite values", "pass", found, "", "", measured)]
    shown = ", ".join(f"{words} words {how}" for how, words in bad[:6])
    hint = "load the model in fp32 or bf16; check the attention mask of padded texts"
    return [Check("finite values", "fail", f"NaN or infinity for texts of {shown}", "finite numbers", hint, measured)]


def check_vectors(subject: Subject) -> list[Check]:
    """Return the checks for zero and equal vectors, of anisotropy, and of distractors."""
    different = _texts_with_different_ids(subject)
    vectors = subject.unrelated[different]
    usable = vectors[vectors.isfinite().all(dim=1)]
    if len(usable) < 2:
        reason = "not judged: see finite values"
        return [Check(name, "skip", reason) for name in ("distinct vectors", "spread", "distractors")]
    distinct = _check_distinct(usable, len(UNRELATED) - len(different))
    if distinct.status == "fail":
        reason = "not judged: see distinct vectors"
        return [distinct, Check("spread", "skip", reason), Check("distractors", "skip", reason)]
    return [distinct, _check_spread(usable), _check_distractors(subject)]


def _texts_with_different_ids(subject: Subject) -> list[int]:
    """Return the places of texts that the tokenizer tells apart: unknown words make some equal before the model."""
    seen: dict[tuple[int, ...], int] = {}
    for place, text in enumerate(UNRELATED):
        seen.setdefault(tuple(subject.ids(text)), place)
    return sorted(seen.values())


def _check_distinct(vectors: torch.Tensor, num_same_ids: int) -> Check:
    lengths = vectors.norm(dim=1)
    zero = int((lengths <= _EQUAL * max(float(lengths.max()), 1e-30)).sum()) if bool(lengths.any()) else len(vectors)
    others = vectors[lengths > 0]
    pairs = torch.pdist(others) if len(others) > 1 else torch.ones(1)
    scale = float(others.norm(dim=1).max()) if len(others) else 1.0
    equal = int((pairs <= _EQUAL * scale).sum())
    measured = {
        "num_texts": len(vectors),
        "share_zero": zero / len(vectors),
        "share_equal_pairs": equal / max(len(pairs), 1),
        "num_with_same_ids": num_same_ids,
    }
    same = f"; {num_same_ids} more have the ids of another (unknown words)" if num_same_ids else ""
    if not zero and not equal:
        return Check("distinct vectors", "pass", f"{len(vectors)} texts, none zero, none equal{same}", "", "", measured)
    found = f"{zero} of {len(vectors)} vectors are zero, {equal} of {len(pairs)} pairs are equal{same}"
    hint = "check pooling and mask; load the weights again and look for missing ones"
    return Check("distinct vectors", "fail", found, "different vectors for different texts", hint, measured)


def _check_spread(vectors: torch.Tensor) -> Check:
    unit = normalize(vectors, dim=1)
    cosines = (unit @ unit.T)[~torch.eye(len(unit), dtype=torch.bool, device=unit.device)]
    mean, highest = float(cosines.mean()), float(cosines.max())
    measured = {"mean_cosine": mean, "highest_cosine": highest, "num_texts": len(vectors)}
    found = f"mean cosine {mean:.3f} of {len(vectors)} unrelated texts, highest {highest:.3f}"
    if mean <= _SPREAD:
        return Check("spread", "pass", found, f"at most {_SPREAD}", "", measured)
    hint = "train the model (an untrained base is often like this), or subtract the mean embedding"
    return Check("spread", "warn", found, f"at most {_SPREAD}", hint, measured)


def _documents(subject: Subject, answer: str) -> tuple[str, str, int] | None:
    """Return a document without and with an answer in its middle, and its number of sentences; None if none fits.

    The answer takes the place of a sentence, so both are about equally long.
    """
    room = subject.room
    for count in range(_SENTENCES, 2, -1):
        without = list(IRRELEVANT[:count])
        with_answer = [*without[: count // 2], answer, *without[count // 2 + 1 :]]
        both = " ".join(without), " ".join(with_answer)
        if all(len(subject.tokenizer(text, verbose=False)["input_ids"]) + 4 <= room for text in both):
            return *both, count
    return None


def _check_distractors(subject: Subject) -> Check:
    made = [(question, _documents(subject, answer)) for question, answer in RELEVANT]
    if any(documents is None for _, documents in made):
        return Check("distractors", "skip", f"a limit of {subject.limit} tokens takes no three sentences")
    moved, gains, count = [], [], _SENTENCES
    for question, documents in made:
        assert documents is not None
        without, with_answer, count = documents
        asked, before, after = subject.embed_alone([question, without, with_answer])
        moved.append(float((after - before).norm()) / subject.distance)
        gains.append(float(cosine_similarity(asked, after, dim=0) - cosine_similarity(asked, before, dim=0)))
    if not all(map(math.isfinite, moved)):
        return Check("distractors", "skip", "not judged: see finite values")
    mean, gain, nearer = sum(moved) / len(moved), sum(gains) / len(gains), sum(g > 0 for g in gains)
    measured = {
        "movement": mean,
        "mean_gain": gain,
        "num_nearer": nearer,
        "num_questions": len(gains),
        "num_sentences": count,
    }
    found = (
        f"one relevant sentence of {count} moves the embedding by {mean:.2f} of the distance between texts, nearer to "
        f"its question in {nearer} of {len(gains)} (cosine {gain:+.3f})"
    )
    if mean >= _MOVED:
        return Check("distractors", "pass", found, f"at least {_MOVED}", "", measured)
    hint = "split documents into passages, or train on long ones"
    return Check("distractors", "warn", found, f"at least {_MOVED}", hint, measured)


def check_speed(subject: Subject) -> list[Check]:
    """Return the texts and tokens per second of ``encode``."""
    texts: Sequence[str] = [*UNRELATED, *UNRELATED]
    tokens = sum(len(subject.ids(text)) for text in UNRELATED) * 2
    subject.model.encode(texts[:4], show_progress_bar=False)
    rounds, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        subject.model.encode(texts, batch_size=32, show_progress_bar=False)
        rounds += 1
    seconds = time.perf_counter() - start
    rates = {"texts_per_second": rounds * len(texts) / seconds, "tokens_per_second": rounds * tokens / seconds}
    texts_rate, tokens_rate = rates.values()
    found = f"{texts_rate:,.0f} texts/s, {tokens_rate:,.0f} tokens/s on {subject.model.device}"
    return [Check("speed", "pass", found, "", "", rates)]
