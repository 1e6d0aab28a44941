"""docs/scale.md: its tables are those of the script, and its manifests are what their programs read."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import scale_table

PAGE = (ROOT / "docs" / "scale.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)]


def test_sizes_and_hours_follow_the_formulas_of_the_page() -> None:
    assert scale_table.gigabytes(1_000_000, 1000, 4) == 4
    assert scale_table.hours(7_200_000, 100, 10, 0.5) == 4
    assert "\n".join(scale_table.tables()) in PAGE


def test_the_page_has_what_was_recorded() -> None:
    assert scale_table.page(PAGE, scale_table.load_records()) == PAGE


def test_records_of_indexes_are_rows_in_the_order_of_their_sizes() -> None:
    def record(kind: str, vectors: int) -> dict[str, Any]:
        both = {"ours": 2.0, "faiss": 1.0}
        config = {"kind": kind, "vectors": vectors, "seconds": both, "recall": both}
        config |= {"bytes": {"ours": 3 << 20, "faiss": 1 << 20}}
        config |= {"milliseconds": {at: {"ours": [1.0, 5.0, 3.0], "faiss": [2.0]} for at in ("p50", "p99")}}
        machine = {"accelerator": "none", "processor": "CPU", "instructions": "AVX2", "cores": 2}
        return {"claim": f"{scale_table.INDEX}, {kind}, {vectors}", "config": config, "machine": machine}

    found = [record("exact", 100_000), record("exact", 10_000), {**record("exact", 1), "claim": "build over faiss"}]
    lines = scale_table.index_lines({"here": {each["claim"]: each for each in found}})
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 10,000", "| 100,000"]
    assert lines[2].endswith("| 2.0 (1.0) | 3 (1) | 2.000 (1.000) | 3.00 (2.00) | 3.00 (2.00) |")
    assert lines[2] in scale_table.page(PAGE, {"here": {each["claim"]: each for each in found}})


def test_manifests_run_the_command_with_options_that_exist() -> None:
    kube, anyscale, aws = MANIFESTS
    for entrypoint in (kube["spec"]["entrypoint"], anyscale["entrypoint"]):
        assert entrypoint.startswith("poolwise encode /") and "--engine ray --ray-address auto" in entrypoint
    containers = [
        group["template"]["spec"]["containers"][0]
        for spec in [kube["spec"]["rayClusterSpec"]]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    ]
    assert {container["image"] for container in containers} == {anyscale["image_uri"]}
    assert aws["head_node_type"] in aws["available_node_types"]


def test_the_file_for_aws_fits_the_schema_of_ray() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    found = importlib.util.find_spec("ray")  # which does not import it
    if found is None or found.origin is None:
        pytest.skip("ray is not installed")
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(MANIFESTS[-1], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**MANIFESTS[-1], "worker_nodes": {}, "max_worker": 8}, schema)
