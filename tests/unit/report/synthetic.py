"""A made-up study with everything a report has to show: anchors, a failure, layer weights, and names that bite."""

from __future__ import annotations

import random
import statistics

from poolwise.design import PAPER, POOLINGS, parse_design
from poolwise.records import METRICS, Cost
from poolwise.results import (
    CategoryMean,
    Comparison,
    Contrast,
    DesignInfo,
    Extremes,
    Measured,
    Posterior,
    Power,
    RankPicture,
    Recommendation,
    Results,
    StudyResults,
    TaskExtremes,
    TaskInfo,
    TaskScore,
    TrainingCurve,
    VarianceShare,
)

HAZARD = '<b>Tasks & "quotes" | *stars* `ticks`</b>'
# Hebrew, a mark that turns the direction of all that follows, and Latin after it.
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u202e turned round"
DESIGNS = [
    "last+causal",
    "latent(keys=last)+causal",
    "multilayer+causal",
    "latent+bidirectional",
    "multilayer+bidirectional",
    "mean+causal",
    "mean+bidirectional",
    "last+bidirectional",
]
ANCHORS = ["untuned", "bm25", "random"]
TASKS = {
    "sts": ["STSBenchmark", "SICK-R", "STS12", "STS13", "STS14", "STS15", "STS16", "BIOSSES"],
    "retrieval": ["SciFact", HAZARD, "FiQA2018"],
    "classification": ["Banking77", "Emotion"],
    "clustering": ["TwentyNewsgroups", "MiniNewsgroups"],
    "pair_classification": ["TwitterURL"],
}
LEVEL = {"sts": 0.79, "retrieval": 0.52, "classification": 0.74, "clustering": 0.43, "pair_classification": 0.83}
REFERENCE = DESIGNS[0]


def build_study(num_seeds: int = 2, *, intervals: bool = True, steps: int = 200) -> StudyResults:
    """Return a study of eight designs in five categories; numbers are drawn from a fixed generator."""
    chance = random.Random(1)
    scores = _scores(chance, num_seeds)
    return StudyResults(
        results=Results(
            name="synthetic <study>",
            base="Qwen/Qwen3-0.6B",
            recipe={"name": "synthetic", "note": HAZARD, "designs": DESIGNS, "train": {"steps": steps}},
            recipe_hash="0123456789abcdef",
            designs=[_info(chance, name, num_seeds) for name in DESIGNS],
            anchors=ANCHORS,
            tasks=_tasks(),
            scores=scores,
            comparison=_comparison(chance, scores, num_seeds, intervals),
            training=[_curve(chance, name, seed, steps) for name in DESIGNS for seed in range(num_seeds)],
            hashes={"schedule, seed 0": "aa11", "lora_init, seed 0": "bb22"},
            data_fingerprints={"base": "ee55", "data/train/allnli.jsonl.gz": "cc33", HAZARD: "dd44"},
            failures={"mlp+causal, seed 1": f"out of memory in {HAZARD}"},
            tuning={name: {"0.0001": 0.71, "0.0003": 0.72} for name in DESIGNS[:2]},
        ),
        measured=Measured(
            costs={f"{name}-s{seed}": _cost(chance, name) for name in DESIGNS for seed in range(num_seeds)},
            machine={"processor": "Example CPU", "cores": "2", "memory_gib": "15.6", "accelerator": "none"},
            versions={"torch": "2.13.0", "python": "3.11.2"},
            command="poolwise study recipe.yaml --out out && echo '<done>'",
            started="2026-11-20 20:36",
            wall_seconds=5400.0,
        ),
    )


def _tasks() -> list[TaskInfo]:
    return [
        TaskInfo(
            task=f"{category}/{name}",
            category=category,
            metric=METRICS[category],
            num_items=1000,
            num_total=1000 if index else 3080,
            fingerprint=f"f{index}",
        )
        for category, names in TASKS.items()
        for index, name in enumerate(names)
    ]


def _scores(chance: random.Random, num_seeds: int) -> list[TaskScore]:
    return [
        TaskScore(
            run=f"{name}-s{seed}" if name in DESIGNS else name,
            name=name,
            seed=seed,
            task=f"{category}/{task}",
            score=LEVEL[category] + _effect(name) + chance.gauss(0, 0.006),
        )
        for name in DESIGNS + ANCHORS
        for seed in range(num_seeds if name in DESIGNS else 1)
        for category, tasks in TASKS.items()
        if name != "bm25" or category == "retrieval"
        for task in tasks
    ]


def _effect(name: str) -> float:
    anchors = {"untuned": -0.12, "bm25": -0.03, "random": -0.2}
    return anchors[name] if name in anchors else 0.006 * (DESIGNS.index(name) % 5)


def _comparison(chance: random.Random, scores: list[TaskScore], num_seeds: int, intervals: bool) -> Comparison:
    means = [m for category in TASKS for name in DESIGNS + ANCHORS if (m := _mean(scores, category, name))]
    by_name = {(m.category, m.name): m for m in means}
    bm25 = by_name["retrieval", "bm25"]
    bm25 = bm25.model_copy(update={"by_seed": bm25.by_seed * num_seeds})
    overall = [_overall(name, by_name) for name in DESIGNS + ANCHORS if name != "bm25"]
    contrasts = [
        _contrast(chance, by_name[category, a], by_name[category, b], reason, intervals)
        for category in TASKS
        for a, b, reason in _pairs()
    ]
    return Comparison(
        reference=REFERENCE,
        designs=DESIGNS,
        means=[*means, *overall],
        contrasts=contrasts,
        task_contrasts=[
            c.model_copy(
                update={"task": f"{c.category}/{TASKS[c.category][0]}", "num_items": 1000, "estimand": "checkpoints"}
            )
            for c in contrasts[:7]
        ],
        tasks_like_these=[c.model_copy(update={"verdict": None}) for c in contrasts[:11]],
        seed_contrasts=[
            c.model_copy(update={"test": "per seed, Satterthwaite", "num_seeds": num_seeds}) for c in contrasts[:3]
        ],
        variance=[
            VarianceShare(
                category=c.category,
                a=c.a,
                b=c.b,
                item_std=0.002,
                seed_std=0.001,
                task_std=0.004,
                shares={"items": 0.8, "seeds": 0.2},
            )
            for c in contrasts[:3]
        ],
        power=[
            Power(
                category=c.category,
                a=c.a,
                b=c.b,
                smallest_p=0.0078125,
                equivalence=0.005,
                detectable=0.0123,
                seeds_needed=5,
                items_factor=2.5,
                sentence="5 seeds would show a difference of 0.005",
            )
            for c in contrasts[:3]
        ],
        rank_pictures=[_picture(by_name)],
        posteriors=[
            Posterior(category=c.category, a=c.a, b=c.b, equivalence=0.005, a_better=0.7, equal=0.2, b_better=0.1)
            for c in contrasts[:3]
        ],
        rule="Verdict: a contrast is decided where its simultaneous interval lies beyond 0.",
        overall=[c.model_copy(update={"category": "overall"}) for c in contrasts[: len(_pairs())]],
        against_baselines=[
            _contrast(chance, by_name["retrieval", name], bm25, "baseline", intervals) for name in DESIGNS
        ],
        recommendations=[_recommendation(c, index) for index, c in enumerate([*TASKS, "overall"])],
        family=f"{len(contrasts)} tests: the declared contrasts times {len(TASKS)} categories.",
        methods=["Wilcoxon signed-rank: exact, over the tasks of a category.", f"Escaping: {HAZARD}"],
        notes=["clustering rests on two tasks, whose smallest attainable p is 0.5"],
        extremes=_extremes(),
    )


def _extremes() -> list[TaskExtremes]:
    """Two tasks with items: one with texts that bite, one without texts."""
    texts = [HAZARD, "</script><script>document.title = 'taken'</script>", RIGHT_TO_LEFT, "", "word " * 60]
    ids = ["q1", "<i>q2</i>", "q3", "q4", "q5"]
    contrasts = [
        Extremes(a=a, b=b, items=[0, 1, 2, 4], a_scores=[0.9, 0.8, 0.75, 0.25], b_scores=[0.1, 0.2, 0.5, 0.625])
        for a, b, _ in _pairs()
    ]
    contrasts[1] = Extremes(a=contrasts[1].a, b=contrasts[1].b, items=[], a_scores=[], b_scores=[])
    contrasts[2] = contrasts[2].model_copy(update={"items": [0, 1, 3, 4]})
    parts = {"query": texts, "relevant": texts[::-1]}
    return [
        TaskExtremes(task=f"retrieval/{HAZARD}", measure="nDCG@10", ids=ids, parts=parts, contrasts=contrasts),
        TaskExtremes(task="sts/STS12", measure="closeness of ranks", ids=ids, contrasts=contrasts[:2]),
    ]


def _picture(means: dict[tuple[str, str], CategoryMean]) -> RankPicture:
    names = sorted(DESIGNS, key=lambda name: -means["sts", name].mean)
    return RankPicture(
        category="sts",
        names=names,
        mean_ranks=[1.5 + 0.75 * place for place in range(len(names))],
        num_tasks=len(TASKS["sts"]),
        p=0.004,
        test="Friedman, Iman-Davenport",
        critical_difference=2.9,
        groups=[names[:4], names[2:7], names[7:]],
    )


def _mean(scores: list[TaskScore], category: str, name: str) -> CategoryMean | None:
    seeds = sorted({s.seed for s in scores if s.name == name})
    chosen = [
        [s.score for s in scores if s.name == name and s.seed == seed and s.task.startswith(category + "/")]
        for seed in seeds
    ]
    if not chosen[0]:
        return None
    by_seed = [statistics.fmean(values) for values in chosen]
    return CategoryMean(
        category=category,
        name=name,
        mean=statistics.fmean(by_seed),
        by_seed=by_seed,
        seed_std=statistics.stdev(by_seed) if len(by_seed) > 1 else None,
        num_tasks=len(TASKS[category]),
    )


def _overall(name: str, means: dict[tuple[str, str], CategoryMean]) -> CategoryMean:
    rows = [means[category, name] for category in TASKS]
    by_seed = [statistics.fmean(values) for values in zip(*(row.by_seed for row in rows), strict=True)]
    return CategoryMean(
        category="overall", name=name, mean=statistics.fmean(by_seed), by_seed=by_seed, num_tasks=len(TASKS)
    )


def _pairs() -> list[tuple[str, str, str]]:
    pairs = [(name, REFERENCE, "reference") for name in DESIGNS[1:]]
    pairs += [(DESIGNS[6], DESIGNS[7], "pooling_given_attention"), (DESIGNS[4], DESIGNS[3], "pooling_given_attention")]
    return [
        *pairs,
        (DESIGNS[4], DESIGNS[2], "attention_given_pooling"),
        (DESIGNS[6], DESIGNS[5], "attention_given_pooling"),
    ]


def _contrast(chance: random.Random, a: CategoryMean, b: CategoryMean, reason: str, intervals: bool) -> Contrast:
    smallest = 2 / 2**a.num_tasks
    has_test = a.num_tasks > 1
    p = max(smallest, chance.choice([0.0004, 0.012, 0.04, 0.3, 0.8])) if has_test else None
    holm = min(1.0, p * 4) if p else None
    difference = a.mean - b.mean
    width = chance.uniform(0.004, 0.02)
    spread = (
        statistics.stdev([x - y for x, y in zip(a.by_seed, b.by_seed, strict=True)]) if len(a.by_seed) > 1 else None
    )
    verdict = "not decided" if holm is None or holm >= 0.05 else "better" if difference > 0 else "worse"
    wide = (difference - 1.4 * width, difference + 1.4 * width) if intervals and has_test else None
    return Contrast(
        category=a.category,
        a=a.name,
        b=b.name,
        reason=[reason],
        difference=difference,
        interval=(difference - width, difference + width) if intervals and has_test else None,
        test="Wilcoxon signed-rank, exact",
        estimand="tasks_like_these",
        p=p,
        p_holm=holm,
        p_bh=holm,
        p_by=min(1.0, 2 * holm) if holm else None,
        simultaneous=wide,
        equivalence=0.005,
        interval_method="BCa",
        num_seeds=len(a.by_seed),
        by_seed=[x - y for x, y in zip(a.by_seed, b.by_seed, strict=True)],
        smallest_p=smallest if has_test else None,
        num_tasks=a.num_tasks,
        seed_spread=spread,
        verdict=verdict,
        note="" if has_test else "one task: no test over tasks",
    )


def _recommendation(category: str, index: int) -> Recommendation:
    decided = index == 0
    sentence = (
        f"Use {DESIGNS[4]} for {category}: better than {REFERENCE}."
        if decided
        else f"Not decided: no design is shown to differ from {REFERENCE}, the cheapest, so keep it."
    )
    return Recommendation(
        category=category,
        best=DESIGNS[4],
        recommended=DESIGNS[4] if decided else REFERENCE,
        sentence=sentence,
        decided=decided,
        pareto=[REFERENCE, DESIGNS[7], DESIGNS[4]],
    )


def _info(chance: random.Random, name: str, num_seeds: int) -> DesignInfo:
    design = parse_design(name)
    layers = [chance.uniform(0.5, 1.5) for _ in range(12)] if POOLINGS[design.pooling].uses_layers else []
    return DesignInfo(
        design=name,
        alias=design.alias,
        summary=POOLINGS[design.pooling].summary,
        decision=PAPER[design.alias].decision if design.alias else None,
        trainable_parameters=10_000_000 if not design.is_trainable else 55_000_000 + 1_000_000 * DESIGNS.index(name),
        learning_rate={str(seed): 3e-4 for seed in range(num_seeds)},
        layer_weights={
            str(seed): [(w + 0.05 * seed) / (sum(layers) + 0.6 * seed) for w in layers] for seed in range(num_seeds)
        }
        if layers
        else {},
    )


def _cost(chance: random.Random, name: str) -> Cost:
    slower = 1.6 if parse_design(name).is_trainable else 1.0
    return Cost(
        train_seconds=chance.uniform(300, 330) * slower,
        train_tokens_per_second=chance.uniform(4000, 4400) / slower,
        train_peak_memory_gib=2.5 * slower,
        eval_seconds=chance.uniform(90, 100) * slower,
        encode_texts_per_second=chance.uniform(600, 640) / slower,
    )


def _curve(chance: random.Random, design: str, seed: int, steps: int) -> TrainingCurve:
    return TrainingCurve(
        design=design,
        seed=seed,
        steps=list(range(1, steps + 1)),
        loss=[3.4 / (1 + 0.03 * step) + 0.2 + chance.gauss(0, 0.12) for step in range(steps)],
        learning_rate=[3e-4 * (1 - step / steps) for step in range(steps)],
    )
