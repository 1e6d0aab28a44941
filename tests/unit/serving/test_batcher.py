"""The batcher: what is read together, who waits, who is refused, and what is dropped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pytest

from poolwise.errors import DataError, ModelError
from poolwise.serving.batcher import Batcher, QueueFullError
from poolwise.serving.readings import Row

WAIT = 20


class Words:
    """Reads words: a text's embedding is its number of words and its number of letters. ``gate`` holds the model."""

    width, budget, limit = 2, 8, 100

    def __init__(self, num_lanes: int = 1) -> None:
        self.num_lanes = num_lanes
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []
        self.alone: list[bool] = []
        self.tokenised: list[list[str]] = []
        self.long_gate = threading.Event()

    def beside(self) -> Words:
        return self

    def tokenise(self, inputs: Sequence[Any], prompt: str, truncate: str) -> list[Row]:
        self.tokenised.append(list(inputs))
        assert len(inputs[0]) < 100 or self.long_gate.wait(WAIT)
        if "unreadable" in inputs:
            raise DataError("unreadable")
        return [Row([0] * len(text.split()), 0, len(text.split()), text, prompt) for text in inputs]

    def finish(self, rows: Sequence[Row], prompt: str, truncate: str) -> list[Row]:
        if truncate == "NONE" and any(row.num_tokens > 5 for row in rows):
            raise DataError("too long")
        return list(rows)

    def read(self, rows: Sequence[Row], *, is_alone: bool) -> Iterator[tuple[list[int], np.ndarray]]:
        self.alone.append(is_alone)
        self.begun.set()
        assert self.gate.wait(WAIT)
        self.batches.append([row.text for row in rows])
        if any(row.text == "broken" for row in rows):
            raise RuntimeError("out of memory: broken")
        for number in reversed(range(len(rows))):
            row = rows[number]
            yield [number], np.array([[row.num_tokens, len(row.text)]], np.float32)


def use(scenario: Any, max_queue_tokens: int = 1000, num_lanes: int = 1) -> Words:
    """Run a scenario with a batcher over ``Words``, and close it."""
    words = Words(num_lanes)
    batcher = Batcher("words", words, max_queue_tokens)

    async def run() -> None:
        try:
            async with asyncio.timeout(WAIT):
                await scenario(batcher, words)
        finally:
            words.gate.set()
            await asyncio.to_thread(batcher.close)

    asyncio.run(run())
    assert batcher.num_waiting == 0
    return words


async def hold(batcher: Batcher, words: Words) -> Any:
    """Let the model read one text until ``words.gate`` opens, and return its job."""
    words.gate.clear()
    words.begun.clear()
    job = batcher.submit(["first"], "", "END")
    assert await asyncio.to_thread(words.begun.wait, WAIT)
    return job


def test_what_arrives_while_the_model_reads_is_read_together() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        first = await hold(batcher, words)
        jobs = [batcher.submit([text, f"{text} two"], "", "END") for text in ("a", "bb")]
        words.gate.set()
        for job in [first, *jobs]:
            await job.done
        assert [job.vectors.tolist() for job in jobs] == [[[1, 1], [2, 5]], [[1, 2], [2, 6]]]

    words = use(scenario)
    assert [sorted(batch) for batch in words.batches] == [["first"], ["a", "a two", "bb", "bb two"]]


def test_a_large_request_does_not_hold_up_a_small_one() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        await hold(batcher, words)
        large = batcher.submit(["one two"] * 20, "", "END")
        await settled(batcher, 40)
        small = batcher.submit(["small"], "", "END")
        await settled(batcher, 41)
        words.gate.set()
        await asyncio.gather(small.done, large.done)
        assert large.vectors.tolist() == [[2, 7]] * 20

    words = use(scenario)
    assert "small" in words.batches[1] and len(words.batches[1]) == 4
    assert all(sum(len(text.split()) for text in batch) <= 8 for batch in words.batches[1:])


async def settled(batcher: Batcher, tokens: int) -> None:
    """Wait until this many tokens are counted in the queue."""
    while batcher.num_waiting != tokens or batcher._arrived:
        await asyncio.sleep(0.001)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        batcher.tokens_per_second = 4.0
        first = await hold(batcher, words)
        waiting = batcher.submit(["one two three"] * 10, "", "END")
        await settled(batcher, 30)
        with pytest.raises(
            QueueFullError, match="30 tokens wait for words; wanted at most 30; try again in 8 s"
        ) as full:
            batcher.submit(["a"], "", "END")
        assert full.value.retry_after == 8
        words.gate.set()
        await asyncio.gather(first.done, waiting.done)
        alone = batcher.submit(["one two three"] * 20, "", "END")  # more than the queue holds, and nobody waits
        await alone.done

    use(scenario, max_queue_tokens=30)


def test_texts_of_a_cancelled_request_are_not_read() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        first = await hold(batcher, words)
        dropped, kept = (batcher.submit([text] * 3, "", "END") for text in ("dropped", "kept"))
        await settled(batcher, 6)
        batcher.cancel(dropped)
        assert batcher.num_waiting == 3
        words.gate.set()
        await asyncio.gather(first.done, kept.done)
        assert dropped.done.cancelled()

    words = use(scenario)
    assert sorted(chain.from_iterable(words.batches)) == ["first", "kept", "kept", "kept"]


def test_a_request_that_is_cancelled_while_it_is_read_harms_nobody() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        first = await hold(batcher, words)
        batcher.cancel(first)
        words.gate.set()
        job = batcher.submit(["a b"], "", "END")
        await job.done
        assert job.vectors.tolist() == [[2, 3]]

    use(scenario)


def test_a_text_that_cannot_be_tokenised_fails_its_request_alone() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        jobs = [batcher.submit([text], "", "END") for text in ("good", "unreadable", "also good")]
        results = await asyncio.gather(*(job.done for job in jobs), return_exceptions=True)
        assert isinstance(results[1], DataError)
        assert jobs[2].vectors.tolist() == [[2, 9]] and not jobs[0].error
        long = [batcher.submit(["a b c d e f"], "", kind) for kind in ("NONE", "END")]
        results = await asyncio.gather(*(job.done for job in long), return_exceptions=True)
        assert isinstance(results[0], DataError) and results[1] is long[1]

    use(scenario)


def test_a_batch_that_fails_is_answered_and_the_next_is_read() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        with pytest.raises(ModelError, match="out of memory"):
            await batcher.submit(["broken", *["one two"] * 20], "", "END").done
        job = batcher.submit(["a"], "", "END")
        await job.done

    words = use(scenario)
    assert sum(map(len, words.batches)) < 21  # the rest of a failed request is not read


def test_prompts_are_tokenised_apart_and_requests_of_one_prompt_together() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        with batcher._changed:  # the tokens' thread waits
            jobs = [batcher.submit([text], prompt, "END") for text, prompt in (("a", ""), ("b", ""), ("c", "p"))]
        await asyncio.gather(*(job.done for job in jobs))

    assert use(scenario).tokenised == [["a", "b"], ["c"]]


def test_closing_answers_what_waits_and_refuses_what_comes() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        first = await hold(batcher, words)
        jobs = [batcher.submit(["one two three"] * 5, "", "END") for _ in range(4)]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="closed"):
            batcher.submit(["late"], "", "END")
        words.gate.set()
        await asyncio.gather(first.done, *(job.done for job in jobs), closing)
        assert all(job.vectors.tolist() == [[3, 13]] * 5 for job in jobs)

    use(scenario)


def test_a_call_runs_in_the_thread_of_the_model_and_its_error_comes_back() -> None:
    async def scenario(batcher: Batcher, words: Words) -> None:
        name = await asyncio.wrap_future(batcher.call(lambda: threading.current_thread().name))
        assert name == "words model"
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(batcher.call(lambda: 1 // 0))

    use(scenario)


def test_a_long_text_holds_up_no_other_while_it_is_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.LONG", 100)

    async def scenario(batcher: Batcher, words: Words) -> None:
        long, dropped = (batcher.submit(["x" * size], "", "END") for size in (101, 102))
        await batcher.submit(["one two"], "", "END").done
        assert not long.done.done()
        batcher.cancel(dropped)
        words.long_gate.set()
        assert (await long.done).vectors[0, 1] == 101

    words = use(scenario)
    assert sorted(words.tokenised) == [["one two"], ["x" * 101]]


def test_lanes_read_at_the_same_time_and_a_request_alone_gets_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.FEW_TOKENS", 4)

    async def scenario(batcher: Batcher, words: Words) -> None:
        first = await hold(batcher, words)  # one lane has it
        jobs = [batcher.submit(["a b c"], "", "END") for _ in range(4)]
        while words.alone != [True, False]:  # the other lane has begun, though the first still reads
            await asyncio.sleep(0.001)
        words.gate.set()
        await asyncio.gather(first.done, *(job.done for job in jobs))
        assert [job.vectors.tolist() for job in jobs] == [[[3, 5]]] * 4

    words = use(scenario, num_lanes=2)
    assert sorted(map(len, words.batches)) == [1, 2, 2]  # at most eight tokens each


def test_many_texts_are_divided_among_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.FEW_TOKENS", 4)

    async def scenario(batcher: Batcher, words: Words) -> None:
        words.gate.clear()
        job = batcher.submit(["a b"] * 6, "", "END")
        while words.alone != [False, False]:
            await asyncio.sleep(0.001)
        words.gate.set()
        await job.done
        assert job.vectors.tolist() == [[2, 3]] * 6

    words = use(scenario, num_lanes=2)
    assert list(map(len, words.batches)) == [3, 3]


def test_a_lane_reads_texts_of_like_length_and_first_whoever_was_served_longest_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.FEW_TOKENS", 4)

    async def scenario(batcher: Batcher, words: Words) -> None:
        holding = [await hold(batcher, words) for _ in range(2)]
        large = batcher.submit(["a b"] * 12, "", "END")
        await settled(batcher, 24)
        small = batcher.submit(["one two three four five"], "", "END")
        await settled(batcher, 29)
        words.gate.set()
        await asyncio.gather(*(job.done for job in [*holding, large, small]))

    batches = use(scenario, num_lanes=2).batches[2:]
    assert len(batches) == 4 and ["one two three four five"] in batches[:3]
    assert all(len(set(batch)) == 1 for batch in batches)


def test_a_request_that_two_lanes_read_fails_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.FEW_TOKENS", 4)

    async def scenario(batcher: Batcher, words: Words) -> None:
        with pytest.raises(ModelError, match="out of memory"):
            await batcher.submit([*["one two"] * 7, "broken", *["one two"] * 7], "", "END").done
        job = batcher.submit(["a"], "", "END")
        await job.done

    use(scenario, num_lanes=2)


def test_calls_and_lanes_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poolwise.serving.batcher.FEW_TOKENS", 4)

    async def scenario(batcher: Batcher, words: Words) -> None:
        held = await hold(batcher, words)
        called = batcher.call(lambda: len(words.batches))
        job = batcher.submit(["a b"] * 8, "", "END")
        await asyncio.sleep(0.05)
        assert not called.done() and words.alone == [True]  # the other lane does not begin before the call
        words.gate.set()
        assert await asyncio.wrap_future(called) == 1
        await asyncio.gather(held.done, job.done)

    use(scenario, num_lanes=2)
