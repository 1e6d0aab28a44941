"""What a run records of its training, so that later runs can be told to be seeds of one design."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from poolwise.base_dtypes import HeldDtype
from poolwise.config import Prompts, TrainConfig
from poolwise.data import Schedule
from poolwise.data.triples import Triple
from poolwise.study.jobs import training_facts
from poolwise.study.plan import InputHashes


def facts(
    name: str = "pairs.jsonl", prompts: dict[str, Prompts] | None = None, held: HeldDtype = "fp32", **settings: Any
) -> dict[str, Any]:
    inputs: Any = SimpleNamespace(
        base="org/small",
        triples=[Triple("a", "b", (), name, 1)],
        source_category={name: "retrieval"},
        prompts=prompts or {},
        stopping=[],
        hashes=InputHashes("b0", {}, {}, {}, {}, base_dtype=held),
    )
    schedule = Schedule([[0]], 1, 0, "hash of the texts")
    return training_facts(inputs, TrainConfig(**settings), schedule, adapted=False)


def test_names_of_files_and_what_saves_memory_are_no_facts_of_a_training() -> None:
    assert facts() == facts("other/pairs.jsonl", mini_batch_size=2, save_steps=1)
    assert facts()["data"] == "hash of the texts" and facts()["base"] == "org/small"


def test_settings_and_the_prompts_of_the_data_are() -> None:
    assert facts(steps=2) != facts(steps=12)
    assert facts() != facts(held="bf16")
    prompts = {"retrieval": Prompts(query="Q: ")}
    assert facts(prompts=prompts) != facts() != facts(prompts={"retrieval": Prompts(query="R: ")})
    assert facts(prompts={"sts": Prompts(query="Q: ")}) == facts()
