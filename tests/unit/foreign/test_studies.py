"""Two studies side by side: what both hold, and one design on two bases."""

from poolwise.foreign.studies import by_place, by_training, identical_notes, named, once, seed_notes, told_apart
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


def trained(steps: int, seed: int = 0, *, base: str = "org/small", score: float = 0.5, weights: str = "h1") -> Run:
    found = run("mean+causal", seed, score=score)
    facts = {"base": base, "data": "d" * 16, "steps": steps, "learning_rate": 1e-3}
    update = {"training": facts, "hashes": {"base": weights}}
    return found.model_copy(update={"manifest": found.manifest.model_copy(update=update)})


def test_runs_of_one_training_are_seeds() -> None:
    runs = [trained(12, 0), trained(12, 1, base="/elsewhere/small")]
    assert by_training(runs) == (runs, [])


def test_other_trainings_are_named_by_what_differs() -> None:
    told, notes = by_training([trained(2), trained(12), trained(12, 1), run("last+causal")])
    assert labels(told) == ["mean+causal (2 steps)", *["mean+causal (12 steps)"] * 2, "last+causal"]
    assert notes == [
        "trained otherwise, so they are not seeds of one design: mean+causal (2 steps), mean+causal (12 steps)"
    ]
    told, _ = by_training([trained(2, base="poolwise/nano", weights="h2"), trained(2)])
    assert labels(told) == ["mean+causal (base nano)", "mean+causal (base small)"]
    pairs = declare(gather(told).entrants, None, ["pooling_given_attention", "training_given_design"])
    assert [(pair.a, pair.b, pair.reasons) for pair in pairs] == [
        ("mean+causal (base small)", "mean+causal (base nano)", ("training_given_design",))
    ]


def test_the_weights_of_a_base_tell_and_its_name_is_shown() -> None:
    copied = [trained(2), trained(2, 1, base="small-copy")]
    assert by_training(copied) == (copied, [])
    told, _ = by_training([trained(2), trained(2, weights="h2"), trained(2, base="large", weights="h3")])
    assert len(set(labels(told))) == 3
    assert labels(by_training([trained(2), trained(2, weights="h2")])[0])[1] == "mean+causal (weights of the base h2)"


def test_seeds_from_several_inputs_are_said_where_that_is_not_known_or_all_there_is() -> None:
    assert seed_notes([("a", [trained(2)]), ("b", [trained(2, 1), run("last+causal")])]) == []
    (note,) = seed_notes([("a", [run("mean+causal"), run("last+causal")]), ("b", [trained(2, 1)])])
    assert note.startswith("mean+causal: its runs in a, b are taken as seeds of one design, but how")
    (note,) = seed_notes([("a", [trained(2), run("bm25", kind="anchor")]), ("b", [trained(2, 1)])])
    assert note.startswith("all inputs (a, b) are runs of one model, mean+causal") and "--name A=PATH" in note
    assert seed_notes([("a", [trained(2), trained(2, 1)])]) == []


def test_poolings_are_compared_within_one_training() -> None:
    last = [
        other.model_copy(update={"manifest": other.manifest.model_copy(update={"design": "last+causal"})})
        for other in (trained(2), trained(12))
    ]
    told, _ = by_training([trained(2), trained(12), *last])
    pairs = declare(gather(told).entrants, None, ["pooling_given_attention"])
    assert [(pair.a, pair.b) for pair in pairs] == [
        ("last+causal (2 steps)", "mean+causal (2 steps)"),
        ("last+causal (12 steps)", "mean+causal (12 steps)"),
    ]


def test_two_versions_of_one_model_are_named_by_their_place() -> None:
    apart = by_place([("old", [run("mean+causal")]), ("new", [run("mean+causal", score=0.6)])])
    assert [labels(runs) for runs in apart] == [["mean+causal (old)"], ["mean+causal (new)"]]
    same = [("old", [run("mean+causal")]), ("new", [run("mean+causal")])]
    assert by_place(same) == [runs for _, runs in same]


def test_a_name_replaces_the_design_or_stands_beside_several() -> None:
    assert labels(named([run("mean+causal"), run("bm25", kind="anchor")], "mine")) == ["mine", "bm25"]
    several = named([run("mean+causal"), run("last+causal")], "mine")
    assert labels(several) == ["mean+causal (mine)", "last+causal (mine)"]


def test_a_renamed_copy_is_named() -> None:
    one, two = run("mean+causal"), run("last+causal", score=0.4)
    copy = one.model_copy(update={"manifest": one.manifest.model_copy(update={"design": None, "name": "copy"})})
    assert identical_notes([one, two, copy]) == [
        "mean+causal and copy have the same scores on their task: are they one model?"
    ]


def test_designs_without_a_declared_contrast_are_compared_with_each_other() -> None:
    pairs = declare(gather([run("mean+causal"), run("last+bidirectional")]).entrants, None, ["pooling_given_attention"])
    assert [(pair.a, pair.b, pair.reasons) for pair in pairs] == [("last+bidirectional", "mean+causal", ("all_pairs",))]
