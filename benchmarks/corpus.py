"""Encoding a corpus to disk against ``model.encode`` of the same texts in memory, and its memory as the corpus grows.

python benchmarks/corpus.py [--texts 200000] [--sample 4096] [--base poolwise/nano] [--repeats 3]

The ratio is measured in pairs in one process. Memory is that of a process of its own for each size, so that what it
needs for 20,000 rows can be compared with what it needs for all. Texts are short, 2 to 12 words of one token each,
because the number of rows decides the memory, and tokens the time. What is done is printed while it runs.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _measure import in_own_process, paired_seconds, peak_memory, record

TARGET = 0.95
"""Of the rate of ``model.encode``, with texts read from a file and embeddings written to one."""
WORDS = (
    "the a file list of text value name with open read write sort number string return object function class path "
    "line key set time data error type range copy join split format print input output state model word page code test "
    "case tree graph"
)
"""Each one token of ``poolwise/nano``."""
MOST_WORDS = 12


def write_texts(path: Path, count: int, most_words: int = MOST_WORDS) -> Path:
    """Write texts of 2 words and more, the same for each count."""
    draw, words = random.Random(0), WORDS.split()
    with path.open("w") as file:
        for number in range(count):
            text = " ".join(draw.choices(words, k=draw.randint(2, most_words)))
            file.write(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
    return path


def progress_of(count: int) -> Callable[[Any], None]:
    """Return what prints the rows done and the rate, at each tenth."""
    start, told = time.perf_counter(), 0

    def tell(progress: Any) -> None:
        nonlocal told
        if (tenth := 10 * progress.num_done // count) > told:
            told = tenth
            seconds = time.perf_counter() - start
            print(f"  {progress.num_done:,} of {count:,} texts in {seconds:.0f} s", flush=True)

    return tell


def peak_of_corpus(base: str, count: int, folder: str) -> int:
    """Return the peak memory of a process that encodes so many texts, in bytes."""
    import poolwise
    from poolwise.corpus import CorpusConfig, encode_corpus

    source = write_texts(Path(folder) / f"{count}.jsonl", count)
    model = poolwise.build_model("mean+causal", base)
    encode_corpus(model, [str(source)], Path(folder) / f"{count}", CorpusConfig(), progress_of(count))
    return peak_memory()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--sample", type=int, default=4096)
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

        print(f"{asked.sample:,} texts in memory and to disk, {asked.repeats + 1} times each", flush=True)
        pairs = paired_seconds(lambda: model.encode(texts, batch_size=32), to_disk, asked.repeats)
        record(
            f"encode_corpus over model.encode, {asked.sample} texts",
            [long / short for long, short in pairs],
            TARGET,
            base=asked.base,
            most_words=MOST_WORDS,
            seconds=pairs,
        )
        small = max(asked.texts // 10, 1)
        peaks, seconds = {}, {}
        for count in (small, asked.texts):
            print(f"memory with {count:,} texts, in a process of its own", flush=True)
            start = time.perf_counter()
            peaks[count] = in_own_process(peak_of_corpus, asked.base, count, name)
            seconds[count] = time.perf_counter() - start
            print(f"peak memory with {count:,} texts: {peaks[count] / 2**20:,.0f} MiB", flush=True)
        record(
            f"peak memory with a tenth over {asked.texts} texts",
            [peaks[small] / peaks[asked.texts]],
            TARGET,
            base=asked.base,
            most_words=MOST_WORDS,
            peaks={str(count): peak for count, peak in peaks.items()},
            seconds={str(count): spent for count, spent in seconds.items()},
        )


if __name__ == "__main__":
    main()
