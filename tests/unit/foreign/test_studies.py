"""Two studies side by side: what both hold, and one design on two bases."""

from poolwise.foreign.studies import once, told_apart
from poolwise.records import ItemScores, Run, RunManifest
from poolwise.stats import compare_runs
from poolwise.stats.designs.contrasts import declare
from poolwise.stats.designs.entrants import gather


def run(design: str, seed: int = 0, *, adaptation: str = "", score: float = 0.5, kind: str = "trained") -> Run:
    record = ItemScores(
        task="retrieval/t", category="retrieval", metric="ndcg_at_10", score=score, num_total=1, fingerprint="f", ids=[]
    )
    manifest = RunManifest(
        name=design,
        kind=kind,  # type: ignore[arg-type]
        design=design if kind == "trained" else None,
        seed=seed,
        model=design,
        adaptation=adaptation,
    )
    return Run(manifest=manifest, scores={record.task: record})


def labels(runs: list[Run]) -> list[str]:
    return [found.manifest.label for found in runs]


def test_a_run_that_two_studies_share_counts_once_if_its_scores_agree() -> None:
    first = [run("mean+causal"), run("bm25", kind="anchor"), run("mean+bidirectional")]
    second = [run("mean+causal"), run("bm25", kind="anchor"), run("mean+bidirectional", adaptation="k")]
    kept, notes = once([*first, *second])
    assert kept == [*first, second[2]]
    assert notes == ["in several inputs with the same scores, used once: mean+causal, bm25"]
    other = run("mean+causal", score=0.6)
    assert once([*first, other]) == ([*first, other], [])


def test_one_design_on_two_bases_gets_two_names_and_others_keep_theirs() -> None:
    runs = [run("mean+causal"), run("mean+bidirectional"), run("mean+bidirectional", adaptation="k1")]
    runs.append(run("last+bidirectional", adaptation="k1"))
    marked, notes = told_apart(runs)
    names = ["mean+causal", "mean+bidirectional", "mean+bidirectional (adapted)", "last+bidirectional"]
    assert labels(marked) == names and len(notes) == 1
    assert told_apart(runs[2:]) == (runs[2:], [])
    three, _ = told_apart([*runs[1:3], run("mean+bidirectional", adaptation="k2k2k2k2k2")])
    assert labels(three)[1:] == ["mean+bidirectional (adapted k1)", "mean+bidirectional (adapted k2k2k2k2)"]


def test_the_pairs_of_two_bases_are_declared_and_poolings_are_compared_on_one_base() -> None:
    designs = ("mean+bidirectional", "last+bidirectional")
    runs, _ = told_apart([run(d, s, adaptation=k) for k in ("k", "") for d in designs for s in (0, 1)])
    pairs = declare(gather(runs).entrants, None, ["pooling_given_attention", "adaptation_given_design"])
    assert {(pair.a, pair.b): pair.reasons for pair in pairs} == {
        ("mean+bidirectional (adapted)", "mean+bidirectional"): ("adaptation_given_design",),
        ("last+bidirectional (adapted)", "last+bidirectional"): ("adaptation_given_design",),
        ("last+bidirectional (adapted)", "mean+bidirectional (adapted)"): ("pooling_given_attention",),
        ("last+bidirectional", "mean+bidirectional"): ("pooling_given_attention",),
    }
    found = compare_runs(runs, reference=None, comparisons=["adaptation_given_design"])
    assert {contrast.difference for contrast in found.contrasts} == {0.0}
