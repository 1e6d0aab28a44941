"""``poolwise compare`` on results of other tools: what it prints, its JSON, and bad input."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from poolwise.records import RunManifest, items_path, save_record
from support import shared_data
from unit.foreign.files import write_text, write_v2
from unit.stats.designs.builders import values

HEAD = "model,task,item,score"
KEYS = {"category", "task", "a", "b", "difference", "interval", "test", "estimand", "p", "p_holm", "p_bh"} | {
    "num_items",
    "smallest_p",
    "verdict",
}
STS = ["BIOSSES", "SICK-R", *(f"STS{year}" for year in range(12, 18)), "STSBenchmark"]


def compare(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poolwise.cli.main", "compare", *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == code, found.stderr
    return found


@pytest.mark.data
def test_three_published_models() -> None:
    models = sorted(shared_data("mteb_results").iterdir())
    plain = compare(*models)
    for part in ("Mean score by category", "Contrasts, the primary family", "== Overall (", "STS22"):
        assert part in plain.stdout
    found = json.loads(compare(*models, "--json").stdout)
    small, tiny, large = found["inputs"]
    assert [len(entry["tasks"]) for entry in (small, tiny, large)] == [49, 55, 50]
    assert [len(revisions) for entry in found["inputs"] for revisions in entry["revisions"].values()] == [2, 1, 2]
    assert small["left_out"]["no English subset in the file"].count("STS22") == 1
    assert "sts/STS22" in small["missing"]["sentence-transformers/all-MiniLM-L12-v2"]
    assert set(found["comparisons"][0]) >= KEYS and {"recommendations", "notes"} <= set(found)
    across = [c for c in found["comparisons"] if c["task"] is None and c["category"] == "sts"]
    assert len(across) == 3
    means = {model.name.replace("__", "/"): mean_by_hand(model) for model in models}
    for contrast in across:
        assert contrast["num_tasks"] == 9 and 0 < contrast["p"] <= 1 and contrast["verdict"]
        assert contrast["difference"] == pytest.approx(means[contrast["a"]] - means[contrast["b"]], abs=1e-12)


def mean_by_hand(model: Path) -> float:
    """The mean over the STS tasks that all three models have, straight from the files."""
    total = 0.0
    for name in STS:
        (path,) = model.glob(f"*/{name}.json")
        rows = json.loads(path.read_text())["scores"]["test"]
        (score,) = [row["main_score"] for row in rows if row["hf_subset"] in ("default", "en-en")]
        total += score
    return total / len(STS)


def test_items_of_a_table_are_tested_within_and_over_tasks(tmp_path: Path) -> None:
    lines = [f"{m},T{t},{i},{(i + t * (m == 'a')) % 7 / 7:.3f}" for m in "ab" for t in (1, 2) for i in range(12)]
    found = compare(write_text(tmp_path / "s.csv", HEAD, *lines), "--json")
    result = json.loads(found.stdout)
    assert {c["family"] for c in result["comparisons"]} >= {"primary", "within_tasks"}
    assert all(0 < c["p"] <= 1 for c in result["comparisons"] if c["p"] is not None)
    assert result["inputs"][0]["items"] == {"classification/T1": 12, "classification/T2": 12}
    assert "s.csv: table of scores: a, b, 2 tasks, items on 2" in found.stderr
    assert "within 2 of 2 tasks" in found.stderr


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a,SciFact,1,0.5", "a,SciFact,2,0.5", "b,SciFact,1,0.5"), "only in the first"),
        (("a,SciFact,1,0.5", "b,NQ,1,0.5"), "no task in common"),
        (("a,SciFact,1,nan", "b,SciFact,1,0.5"), "NaN"),
        (("a,SciFact,1,0.5", "b,SciFact,1,50"), "scales are mixed"),
    ],
)
def test_bad_input_ends_with_2(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    found = compare(write_text(tmp_path / "s.csv", HEAD, *lines), code=2)
    assert message in found.stderr and "Traceback" not in found.stderr and not found.stdout


def test_items_that_only_some_models_have_are_left_out_on_request(tmp_path: Path) -> None:
    lines = [f"{m},SciFact,{i},{(i + (m == 'b')) % 7 / 7:.3f}" for m in "ab" for i in range(30)]
    table = write_text(tmp_path / "s.csv", HEAD, *lines[:-5])
    assert "`compare --intersect` uses those that all have" in compare(table, code=2).stderr
    found = compare(table, "--intersect", "--json")
    assert "scored on the 25 items that all models have; left out: 5 of a" in found.stderr
    result = json.loads(found.stdout)
    assert {c["num_items"] for c in result["comparisons"] if c["task"]} == {25}
    assert any("left out: 5 of a" in note for note in result["notes"])


@pytest.mark.parametrize("kind", ["MTEB result", "packed table", "run of our own"])
def test_a_file_cut_or_changed_in_the_middle_ends_with_2(tmp_path: Path, kind: str) -> None:
    whole = write_v2(tmp_path / "m", "SciFact", 0.6).parent
    if kind == "MTEB result":
        path = write_v2(tmp_path / "cut", "SciFact", 0.6)
        path.write_text(path.read_text()[:60])
        given = path.parent
    elif kind == "packed table":
        given = path = tmp_path / "s.csv.gz"
        path.write_bytes(gzip.compress(f"{HEAD}\n{'a,SciFact,1,0.5' * 50}".encode())[:-12])
    else:
        given = tmp_path / "run"
        save_record(RunManifest(name="r", kind="external", model="r"), given / "run.json")
        path = items_path(given, "retrieval/SciFact")
        save_record(values("SciFact", [0.1, 0.2, 0.3]), path)
        raw = bytearray(path.read_bytes())
        raw[20:24] = bytes(255 - byte for byte in raw[20:24])
        path.write_bytes(bytes(raw))
    found = compare(whole, given, code=2)
    assert str(path) in found.stderr and "Traceback" not in found.stderr and not found.stdout


@pytest.mark.parametrize(
    ("head", "lines", "limitation"),
    [
        (HEAD, [f"a,SciFact,{i},0.5" for i in range(5)], "nothing to compare"),
        (HEAD, [f"{m},SciFact,{i},0.5" for m in "ab" for i in range(12)], "nothing to test"),
        (HEAD, ["a,SciFact,1,0.5", "b,SciFact,1,0.75"], "p cannot be below 1"),
        (
            f"{HEAD},seed",
            [f"{m},SciFact,{i},0.{i},{s}" for m, s in ("a0", "a1", "b0") for i in range(9)],
            "seeds differ",
        ),
    ],
)
def test_limitations_are_stated(tmp_path: Path, head: str, lines: list[str], limitation: str) -> None:
    result = compare(write_text(tmp_path / "s.csv", head, *lines), "--json").stdout
    assert limitation in result
    assert not any(c["p"] is not None and c["p"] < 0.5 for c in json.loads(result)["comparisons"])
    assert not any(c["verdict"] in ("better", "worse") for c in json.loads(result)["comparisons"])


def test_a_report_of_foreign_results(tmp_path: Path) -> None:
    for model, gain in (("a", 0.0), ("b", 0.1)):
        for task, score in (("SciFact", 0.5), ("NQ", 0.4), ("STS12", 0.7)):
            write_v2(tmp_path / model, task, score + gain)
    found = compare(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "report", "--equivalence", "sts=0.02")
    assert "MTEB results (v2): a, 3 tasks, scores without items" in found.stderr
    page = (tmp_path / "report" / "report.html").read_text().replace("<wbr>", "")
    assert "How to repeat this comparison" in page and "--equivalence sts=0.02" in page
    assert "MTEB results (v2): a, 3 tasks" in page and "0 items" not in page
    assert "The verdicts use the test across tasks" in page and "Seed spread" not in page
    assert "equivalence" in compare(tmp_path / "a", tmp_path / "b", "--equivalence", "x", code=2).stderr
    (tmp_path / "taken").write_text("")
    assert "is a file" in compare(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "taken", code=2).stderr
    assert compare(tmp_path / "a", tmp_path / "b", "--equivalence", 0).stdout


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['poolwise', 'compare', '--help']\n"
        "from poolwise.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: print([m for m in ('torch', 'numpy', 'scipy', 'mteb', 'transformers') if m in sys.modules])"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before.ru_utime)
        assert found.stdout.strip().endswith("[]")
    # Processor time, and the least of three: on a busy machine more says something about the neighbours.
    assert min(seconds) < 0.5
