"""Encoding a corpus to disk against ``model.encode`` of the same texts in memory, and its memory as the corpus grows.

python benchmarks/corpus.py [--texts 200000] [--base poolwise/nano] [--repeats 3]

The ratio is measured in pairs in one process. Memory is that of a process of its own for each size, so that what it
needs for 20,000 rows can be compared with what it needs for all.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from _measure import in_own_process, paired_seconds, peak_memory, record

TARGET = 0.95
"""Of the rate of ``model.encode``, with texts read from a file and embeddings written to one."""


def write_texts(path: Path, count: int) -> Path:
    """Write short texts of 4 to 40 words, the same for each count."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(5000)]
    with path.open("w") as file:
        for number in range(count):
            text = " ".join(draw.choices(words, k=draw.randint(4, 40)))
            file.write(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
    return path


def peak_of_corpus(base: str, count: int, folder: str) -> int:
    """Return the peak memory of a process that encodes so many texts, in bytes."""
    import poolwise
    from poolwise.corpus import CorpusConfig, encode_corpus

    source = write_texts(Path(folder) / f"{count}.jsonl", count)
    encode_corpus(poolwise.build_model("mean+causal", base), [str(source)], Path(folder) / f"{count}", CorpusConfig())
    return peak_memory()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--sample", type=int, default=8192)
    parser.add_argument("--base", default="poolwise/nano")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()

    import poolwise
    from poolwise.corpus import CorpusConfig, encode_corpus

    model = poolwise.build_model("mean+causal", asked.base)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_texts(folder / "sample.jsonl", asked.sample)
        texts = [json.loads(line)["text"] for line in source.open()]
        runs = iter(range(10**6))

        def to_disk() -> None:
            encode_corpus(model, [str(source)], folder / f"out{next(runs)}", CorpusConfig())

        pairs = paired_seconds(lambda: model.encode(texts, batch_size=32), to_disk, asked.repeats)
        record(
            f"encode_corpus over model.encode, {asked.sample} texts",
            [long / short for long, short in pairs],
            TARGET,
            base=asked.base,
            seconds=pairs,
        )
        small = max(asked.texts // 10, 1)
        peaks = {count: in_own_process(peak_of_corpus, asked.base, count, name) for count in (small, asked.texts)}
        for count, peak in peaks.items():
            print(f"peak memory with {count:,} texts: {peak / 2**20:,.0f} MiB")
        record(
            f"peak memory with a tenth over {asked.texts} texts",
            [peaks[small] / peaks[asked.texts]],
            TARGET,
            base=asked.base,
            peaks={str(count): peak for count, peak in peaks.items()},
        )


if __name__ == "__main__":
    main()
