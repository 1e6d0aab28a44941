"""The functions of ``import poolwise``: one for each command, with the defaults of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from poolwise.config import EvalConfig, Prompts, Recipe, build_section, load_recipe
from poolwise.errors import ConfigError, DataError
from poolwise.records import Category, ItemScores
from poolwise.results import Comparison, StudyResults

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from sentence_transformers import SentenceTransformer

    from poolwise.checks import Diagnosis
    from poolwise.corpus.corpus import Summary
    from poolwise.corpus.pace import OnProgress as OnCorpusProgress
    from poolwise.jobs import Progress
    from poolwise.models import EmbeddingModel

OnProgress = Callable[[int, int, str], None]


def encode(
    model: str | Path | SentenceTransformer,
    texts: str | Sequence[str],
    *,
    prompt: str | None = None,
    prompt_name: str | None = None,
    device: str | None = None,
    **options: Any,
) -> Float[np.ndarray, "B D"]:
    """Return one embedding per text, in order: fp32, of length 1 for models of poolwise.

    For many calls, load the model once: ``model = poolwise.load_model(path)`` and ``model.encode(texts)``.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model; ours or any other.
        texts: a list of texts, or one text, for which one embedding (D) is returned.
        prompt: put before every text.
        prompt_name: the name of a prompt that is saved with the model, such as "query" or "document".
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        options: any option of ``SentenceTransformer.encode``: ``batch_size``, ``normalize_embeddings``,
            ``truncate_dim``, ``precision`` and so on.
    Raises: ModelError where the model cannot be loaded; DataError where an input is not a text; ValueError for an
        option or a prompt name that the model does not know.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> poolwise.encode(model, ["a dog", "a cat"]).shape
        (2, 256)
    """
    from poolwise.models import load_any

    if not isinstance(texts, str) and (bad := [text for text in texts if not isinstance(text, str)]):
        raise DataError(f"input {bad[0]!r} is a {type(bad[0]).__name__}", "wanted texts")
    loaded = load_any(str(model), device=device, for_encoding=False) if isinstance(model, str | Path) else model
    listed = texts if isinstance(texts, str) else list(texts)
    move = {} if device is None or isinstance(model, str | Path) else {"device": device}
    vectors: Float[np.ndarray, "B D"] = loaded.encode(listed, prompt=prompt, prompt_name=prompt_name, **move, **options)
    return vectors


def encode_corpus(
    model: str | Path | SentenceTransformer,
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    id_column: str | None = None,
    text_column: str | None = None,
    title_column: str | None = None,
    keep: Sequence[str] = (),
    chunk: str | None = None,
    on_progress: OnCorpusProgress | None = None,
    **options: Any,
) -> Summary:
    """Encode a corpus of any size into a folder of shards, in flat memory, and return what was done.

    The same call resumes after an interruption. With changed inputs it encodes new and changed rows, and drops those
    that are gone. Rows that cannot be used are listed in ``rejected.jsonl``.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model; ours or any other.
        inputs: files (jsonl, parquet, csv, tsv, txt), folders, patterns, URLs, data sets of the hub, or "-" for
            standard input.
        out: the folder, which gets ``manifest.json`` and ``shards/``.
        id_column: the field of the ids; None detects it.
        text_column: the field of the texts; None detects it.
        title_column: the field that is put before the text; None is "title".
        keep: fields that are stored with the embeddings.
        chunk: how documents are split, such as "tokens=256,overlap=32"; None encodes each as one text.
        on_progress: called with a ``Progress``: rows done, about how many there are, rows per second, seconds left.
        options: the other options of ``poolwise encode``: ``prompt``, ``prompt_name``, ``max_tokens``, ``precision``,
            ``device``, ``engine``, ``ray_address``, ``processes``, ``format``, ``dtype``, ``dim``, ``keep_text``,
            ``pool_chunks``, ``shard_rows``, ``split``, and ``is_strict`` for ``--strict``.
    Raises: DataError for inputs that cannot be read; ConfigError where ``out`` is in use or was encoded with another
        model or options; ModelError where the model cannot be loaded.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> done = poolwise.encode_corpus(model, "my-suite/retrieval/toy-search", "embeddings", dtype="float16")
        >>> done.num_encoded, done.manifest.output.dim
        (24, 256)
    """
    from poolwise.corpus import CorpusConfig, corpus
    from poolwise.corpus.chunks import parse_chunking
    from poolwise.corpus.rows import Columns

    config = CorpusConfig(
        columns=Columns(id_column, text_column, title_column, tuple(keep)),
        chunking=None if chunk is None else parse_chunking(chunk),
        **options,
    )
    listed = [str(name) for name in ([inputs] if isinstance(inputs, str | Path) else inputs)]
    name = str(model) if isinstance(model, Path) else model
    return corpus.encode_corpus(name, listed, Path(out), config, on_progress or (lambda _: None))


def train(
    design: str,
    data: str | Sequence[str | Mapping[str, Any]],
    out: str | Path,
    *,
    base: str = "poolwise/nano",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    on_progress: OnProgress | None = None,
) -> EmbeddingModel:
    """Train one design and return the model. The same call resumes an interrupted run and loads a finished one.

    Args:
        design: ``pooling+attention``, such as "multilayer+bidirectional", or "paper:5".
        data: training sources: files, folders, hub data sets or "poolwise/pydoc", or any value of a recipe's
            ``data.train``.
        out: the run's folder, which gets ``model/``, ``training.jsonl`` and ``run.json``.
        base: "poolwise/nano", "poolwise/smollm2", a folder, a GGUF file, or a hub id.
        seed: of batches, adapter, dropout and head.
        settings: values by dotted recipe key: ``{"train.steps": 200, "prompts.retrieval.query": "Q: "}``.
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        on_progress: called with the steps done, the total steps, and a short message.
    Raises: ConfigError for an unknown design or key, or where ``out`` holds another run; DataError for training data
        that cannot be read; ModelError for a base that cannot be used.

    Example:

        >>> import poolwise
        >>> settings = {"train.steps": 2, "train.batch_size": 8, "train.max_tokens": 32}
        >>> model = poolwise.train("mean+causal", "pairs.jsonl", "runs/mine", settings=settings)
        >>> model.max_seq_length
        32
    """
    from poolwise.study.single_training import build_single_run, train_single

    sources = [data] if isinstance(data, str) else list(data)
    run = build_single_run(str(design), base, sources, None, seed, None, [], settings)
    train_single(run, Path(out), on_progress or _ignore, device)
    from poolwise.models import load_model

    return load_model(out, device=device)


def evaluate(
    model: str | Path | SentenceTransformer,
    tasks: str | Sequence[str],
    *,
    out: str | Path | None = None,
    max_items: int | None = None,
    max_tokens: int | None = None,
    precision: str = "auto",
    prompts: Mapping[Category, Prompts] | None = None,
    device: str | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, ItemScores]:
    """Return the scores of any embedding model by task, ``category/name``, with the score of every item.

    The maximum length and the prompts are those saved with the model. Models not made by poolwise run in fp32.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model.
        tasks: folders of a task, a category or a suite, "poolwise/pydoc", or "mteb:NAME".
        out: a folder for the records, which ``compare`` reads; None writes nothing.
        max_items: the most items per task; larger tasks are sampled with a fixed seed.
        max_tokens: truncate texts to this many tokens instead of the model's maximum length.
        precision: "fp32", "bf16", or "auto": for poolwise models what a study uses, for others fp32.
        prompts: prompts by category that replace the model's own; ``{}`` for none.
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        on_progress: called with the units done, the total units, and a short message.
    Raises: DataError where a task cannot be used, before the model is loaded; ModelError where the model cannot be
        loaded; ConfigError where ``out`` holds other scores.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano", max_tokens=32)
        >>> scores = poolwise.evaluate(model, "my-suite/sts")
        >>> [(name, record.metric, record.num_items) for name, record in scores.items()]
        [('sts/toy-sts', 'cosine_spearman', 12)]
    """
    from poolwise.study.single_evaluation import evaluate_single

    config = build_section(EvalConfig, {"max_tokens": max_tokens, "precision": precision}, "evaluate")
    _, scores = evaluate_single(
        str(model) if isinstance(model, Path) else model,
        [tasks] if isinstance(tasks, str) else list(tasks),
        Path(out) if out is not None else None,
        max_items,
        config,
        on_progress or _ignore,
        prompts,
        device,
    )
    return {record.task: record for record in scores}


def run_study(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> StudyResults:
    """Train and evaluate every design of a recipe on the same data, write the reports, and return the results.

    The same call resumes an interrupted study. The report is ``out/report.html``.

    Args:
        recipe: a recipe, or the path of one.
        out: the study's folder.
        workers: the number of processes that run jobs; None chooses by cores and memory.
        progress: a listener that is called as jobs start, advance and end.
    Raises: ConfigError where ``out`` belongs to another recipe; any error in the inputs, before a job starts.

    Example:

        >>> import poolwise
        >>> changes = ["designs=[last+causal, mean+causal]", "train.steps=1", "seeds=[0]", "anchors=[]"]
        >>> changes += ["data.train=pairs.jsonl", "tasks=my-suite/sts", "train.batch_size=8", "reference=last+causal"]
        >>> recipe = poolwise.load_recipe("recipes/quickstart.yaml", changes)
        >>> study = poolwise.run_study(recipe, "runs/study", workers=1)
        >>> sorted(score.name for score in study.results.scores)
        ['last+causal', 'mean+causal']
    """
    from poolwise.study import study

    return study.run_study(_recipe(recipe), Path(out), progress, workers=workers)


def run_screen(
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    by: Literal["heads", "training"] = "heads",
    workers: int | None = None,
    progress: Progress | None = None,
) -> StudyResults:
    """Try the designs of a recipe in a fraction of a study's time, and return the results.

    A screen ranks candidates; it proves nothing about designs. Other arguments and errors are those of ``run_study``.

    Args:
        by: what is trained: "heads" only, on a frozen base that reads every text once; or "training": the designs as a
            study trains them, but at one seed and with half of ``max_items``, which ranks them better and costs more.
    Raises: ConfigError by heads, where the recipe trains the whole base, or the states do not fit on the disk.

    Example:

        >>> import poolwise
        >>> changes = ["designs=[last+causal, mean+causal]", "train.steps=1", "seeds=[0]", "anchors=[]"]
        >>> changes += ["data.train=pairs.jsonl", "tasks=my-suite/sts", "train.batch_size=8", "reference=last+causal"]
        >>> recipe = poolwise.load_recipe("recipes/quickstart.yaml", changes)
        >>> poolwise.run_screen(recipe, "runs/screen", workers=1).results.kind
        'screen'
    """
    from poolwise.screening import screen

    return screen.run_screen(_recipe(recipe), Path(out), progress, workers=workers, by=by)


def compare(
    paths: str | Path | Sequence[str | Path] = (),
    *,
    names: Mapping[str, str | Path] | None = None,
    reference: str | None = None,
    qrels: Sequence[str | Path] = (),
    include_external: bool = False,
    benchmark: str | None = None,
    language: str | None = None,
    equivalence: float | Mapping[str, float] | None = None,
    family: Literal["all", "category"] | None = None,
    num_resamples: int | None = None,
    intersect: bool = False,
) -> Comparison:
    """Return whether the differences between models are real: differences, tests, corrected p-values, verdicts.

    Args:
        paths: runs or studies of poolwise, MTEB results (one folder per model), mteb predictions, runs in TREC's format
            or JSON, or a table (CSV, parquet) with model, task, item, score.
        names: more inputs, by the name that their model gets in the comparison.
        reference: the design or model that the others are compared with; None takes the reference of a study.
        qrels: relevance judgements for TREC runs.
        include_external: also read MTEB's self-reported scores; the notes mark them.
        benchmark: one of MTEB's, such as "MTEB(eng, v2)": only its tasks, splits and subsets; adds ``benchmark`` to the
            comparison, with the models' ranks.
        language: of MTEB results, in ISO 639-3, such as "deu"; None is English.
        equivalence: the largest difference that does not matter in practice, as a fraction, for all categories or by
            category; None is 0.005.
        family: which tests are corrected together: all, or those of each category; None takes a study's, else all.
        num_resamples: of each test; None is 10,000, more in a large family.
        intersect: use the items that all models have, where some lack items of a task; the notes count the others.
    Raises: EvalError where inputs cannot be read or compared; ConfigError for a reference that is not in the inputs,
        and for a benchmark or a language that mteb does not know.

    Example:

        >>> import poolwise
        >>> with open("scores.csv", "w") as file:
        ...     print("model,task,category,item,score", file=file)
        ...     for item in range(40):
        ...         for model in "ab":
        ...             score = item % 7 / 10 + (model == "b") / 5
        ...             print(model, "mine", "classification", item, score, sep=",", file=file)
        >>> comparison = poolwise.compare("scores.csv", reference="a")
        >>> round(comparison.contrasts[0].difference, 3)
        0.2
    """
    from poolwise.foreign import compare_inputs, read_inputs, scope_of

    listed = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    given = {name: Path(path) for name, path in (names or {}).items()}
    scope = scope_of(benchmark, language)
    inputs = read_inputs(listed, [Path(path) for path in qrels], include_external, given, scope, intersect)
    return compare_inputs(inputs, [*listed, *given.values()], reference, equivalence, family, num_resamples)


def doctor(
    model: str | Path | SentenceTransformer,
    *,
    device: str | None = None,
    fix: str | Path | None = None,
    trust_remote_code: bool = False,
    on_progress: OnProgress | None = None,
) -> Diagnosis:
    """Return measured checks of a model: attention, tokens, padding, pooling, norms, embeddings, speed.

    The result is a sequence of checks, each with ``name``, ``status`` (pass, warn, fail, skip), ``found``, ``wanted``,
    ``hint`` and ``measured``. A base, which has no embedding head, is judged by what poolwise can build on it.

    Args:
        model: a folder, a run's folder, a hub id, a base, or a loaded model; ours or any other.
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        fix: a new or empty folder for a copy in which settings are corrected; the copy is checked before it counts.
        trust_remote_code: run Python code that comes with the model; without it, that code is only named.
        on_progress: called with the steps done, the total steps, and what is measured now.
    Raises: ModelError where the model cannot be loaded, needs code that is not trusted, has no transformer, or no
        setting fixes it; ConfigError where ``fix`` is not empty.

    Example:

        >>> import poolwise
        >>> checks = poolwise.doctor(poolwise.build_model("mean+bidirectional", "poolwise/nano"))
        >>> checks.status, [(check.name, check.status) for check in checks][:2]
        ('pass', [('attention', 'pass'), ('attention kernels', 'pass')])
    """
    from poolwise.checks import diagnose, examine

    report = on_progress or _ignore
    if not isinstance(model, str | Path):
        if fix is not None:
            raise ConfigError("fix needs a model's folder", "wanted a path or a hub id, not a loaded model")
        return diagnose(model, None, report)
    return examine(
        str(model),
        device=device,
        fix=None if fix is None else Path(fix),
        is_trusted=trust_remote_code,
        on_progress=report,
    )


def _recipe(recipe: Recipe | str | Path) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if not isinstance(recipe, str | Path):
        raise ConfigError(f"recipe is a {type(recipe).__name__}", "wanted a Recipe or a path")
    return load_recipe(Path(recipe))


def _ignore(_done: int, _total: int, _detail: str) -> None:
    """Ignore progress."""
