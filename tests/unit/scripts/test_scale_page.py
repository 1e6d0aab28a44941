"""docs/scale.md: its tables are those of the script, and its manifests are what their programs read."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

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
