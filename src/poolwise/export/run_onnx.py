"""Embeddings from a folder that ``poolwise export --target onnx`` wrote: ``python RUNNER FOLDER TEXTS.json OUT.npy``.

It needs onnxruntime, tokenizers and numpy, and nothing else. The README.md of an export holds its first part.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer


class Encoder:
    """Texts to unit vectors, with the model in a folder."""

    def __init__(self, folder: str = ".") -> None:
        self.settings = json.loads(Path(folder, "poolwise_export.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
        self.tokenizer.no_padding()
        # Whether a special token that is spelled in a text is read as its characters; tokenizer.json cannot say so.
        self.tokenizer.encode_special_tokens = self.settings["split_special_tokens"]
        self.session = onnxruntime.InferenceSession(str(Path(folder, "model.onnx")), providers=["CPUExecutionProvider"])

    def encode(self, texts: list[str], prompt_name: str | None = None, batch_size: int | None = None) -> np.ndarray:
        """Return one vector per text, in fp32; ``prompt_name`` selects a prompt of ``poolwise_export.json``."""
        prompt = self.settings["prompts"][prompt_name] if prompt_name else ""
        found = self.tokenizer.encode_batch([prompt + text for text in texts])
        rows = [self.row(encoding, prompt) for encoding in found]
        size = batch_size or self.settings["batch_size"]
        order = sorted(range(len(rows)), key=lambda number: len(rows[number][0]))  # similar lengths, little padding
        vectors = np.empty((len(rows), self.settings["width"]), dtype=np.float32)
        for start in range(0, len(rows), size):
            numbers = order[start : start + size]
            (vectors[numbers],) = self.session.run(None, self.arrays([rows[number] for number in numbers]))
        return vectors

    def row(self, encoding: Encoding, prompt: str) -> tuple[list[int], int]:
        """Return the ids of a text, and how many of them belong to its prompt."""
        first, last = self.settings["num_prefix"], len(encoding.ids) - self.settings["num_suffix"]
        text, ends = encoding.ids[first:last], [end for _, end in encoding.offsets[first:last]]
        while text and text[-1] == self.settings["eos_id"]:  # the tokenizer has added one already
            text.pop()
        counts = (place for place in range(len(text)) if ends[place] > len(prompt))
        skipped = next(counts, len(text)) if prompt else 0
        again = text[skipped:] if self.settings["reads_twice"] else []
        every = self.settings.get("landmark_every")  # exports of older versions have no such key
        if every:  # EOS after every few tokens of the text, but not before the EOS at its end
            chunks = [text[start : start + every] for start in range(skipped, len(text), every)]
            eos = [self.settings["eos_id"]]
            text = text[:skipped] + [i for n, chunk in enumerate(chunks) for i in (eos if n else []) + chunk]
        ids = encoding.ids[:first] + text + again + encoding.ids[last:]
        return ids, first + skipped if prompt else 0

    def arrays(self, rows: list[tuple[list[int], int]]) -> dict[str, np.ndarray]:
        """Return the inputs of the graph for some rows."""
        longest = max(len(ids) for ids, _ in rows)
        ids = np.full((len(rows), longest), self.settings["pad_id"], dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, (of_text, _) in enumerate(rows):
            ids[place, : len(of_text)], mask[place, : len(of_text)] = of_text, 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.settings["counts_prompt"]:
            inputs["num_prompt"] = np.array([count for _, count in rows], dtype=np.int64)
        return inputs


def embed(encoder: Encoder, texts: list[dict[str, str | None]], batch_size: int | None = None) -> np.ndarray:
    """Return one vector for each ``{"text": ..., "prompt_name": ... or None}``."""
    vectors = np.empty((len(texts), encoder.settings["width"]), dtype=np.float32)
    for name in {row["prompt_name"] for row in texts}:
        numbers = [number for number, row in enumerate(texts) if row["prompt_name"] == name]
        vectors[numbers] = encoder.encode([str(texts[number]["text"]) for number in numbers], name, batch_size)
    return vectors


if __name__ == "__main__":
    import sys

    folder, asked, given = sys.argv[1:]
    np.save(given, embed(Encoder(folder), json.loads(Path(asked).read_text(encoding="utf-8"))))
