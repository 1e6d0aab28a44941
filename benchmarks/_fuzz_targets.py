"""What ``fuzz.py`` attacks: each reader and parser of poolwise, with valid inputs to start from.

A target's function runs in a process of its own. It writes what it needs below ``root`` and returns valid inputs and a
function that reads one. That function returns where the input is accepted, and raises where it is not.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _mutations import Files

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))  # tiny models, corpora and experiments


@dataclass(frozen=True)
class Prepared:
    """A target, ready for inputs.

    Args:
        seeds: valid inputs. The content of a file whose name ends in ``.gz`` is plain here, and compressed on disk.
        read: reads the files in a folder.
        seal: writes checksums anew, so that a changed file gets beyond their comparison.
    """

    seeds: Sequence[Files]
    read: Callable[[Path], object]
    seal: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class Target:
    """A target by name. ``share`` is its part of the inputs that a cheap target gets: slow ones get fewer."""

    name: str
    prepare: Callable[[Path], Prepared]
    share: float = 1.0


TARGETS: dict[str, Target] = {}


def target(name: str, share: float = 1.0) -> Callable[[Callable[[Path], Prepared]], Callable[[Path], Prepared]]:
    def added(prepare: Callable[[Path], Prepared]) -> Callable[[Path], Prepared]:
        TARGETS[name] = Target(name, prepare, share)
        return prepare

    return added


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def parquet(**columns: Sequence[object]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), out)
    return out.getvalue()


def only_file(folder: Path) -> Path:
    return next(path for path in folder.iterdir())


def files_of(folder: Path) -> Files:
    """Return the files below a folder; those in ``.gz`` inflated."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            raw = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return found


# Training data and corpora -------------------------------------------------------------------------------------------

PAIRS = ({"anchor": "a query", "positive": "a passage", "negative_1": "another"}, {"anchor": "q", "positive": "p"})
FLAG = ({"query": "a query", "pos": ["a passage", "two"], "neg": ["another"]}, {"query": "q", "pos": ["p"], "neg": []})
PASSAGES = ({"query": "q", "positive_passages": [{"docid": "1", "title": "t", "text": "p"}], "negative_passages": []},)
PLAIN = ({"query": "q", "positive": "p", "negative": "n"}, {"query": "q2", "positive": "p2", "negative": None})
TABLE = b'query,positive,negative\nhow,this way,no\n"a ""quoted""\nline",yes,\n'


@target("training rows")
def training_rows(root: Path) -> Prepared:
    from poolwise.config import ColumnNames, SourceConfig
    from poolwise.data import load_plain_texts, load_source, read_sources

    def read(folder: Path) -> None:
        name = str(only_file(folder))
        if name.endswith(("named.jsonl", "named.csv")):
            columns = ColumnNames(query="anchor", positive="positive", negative=["negative_1"])
            read_sources([SourceConfig(source=name, columns=columns)])
        elif "texts" in name:
            load_plain_texts([name])
        else:
            load_source(name)

    seeds = [{"train.jsonl": lines(*rows)} for rows in (PAIRS, FLAG, PASSAGES, PLAIN)]
    seeds += [{"train.jsonl.gz": lines(*PAIRS)}, {"train.csv": TABLE}, {"train.csv.gz": TABLE}]
    seeds += [{"train.tsv": TABLE.replace(b",", b"\t")}, {"train.csv": TABLE.replace(b",", b";")}]
    seeds += [{"train.parquet": parquet(query=["q", "r"], positive=["p", "s"], negative=["n", None])}]
    seeds += [{"train.parquet": parquet(query=["q"], pos=[["p", "s"]], neg=[["n"]])}]
    seeds += [{"named.jsonl": lines(*PAIRS)}, {"named.csv": b"anchor,positive,negative_1\na,b,c\n"}]
    seeds += [{"texts.jsonl": lines({"text": "one"}, "two", *PLAIN)}, {"texts.csv": b"text\none\ntwo\n"}]
    return Prepared(seeds, read)


@target("corpus rows")
def corpus_rows(root: Path) -> Prepared:
    from poolwise.corpus.inputs import find_tables
    from poolwise.corpus.rows import Columns, RowReader
    from poolwise.search.query_files import load_queries

    def read(folder: Path) -> None:
        path = only_file(folder)
        if path.name.startswith("queries"):
            load_queries(path)
            return
        for table in find_tables([str(path)], "train", root):
            for _ in RowReader(Columns(keep=("lang",)), table).rows():
                pass

    rows = ({"_id": "d1", "title": "t", "text": "one", "lang": "en"}, {"_id": 2, "text": "two", "lang": {"a": 1}})
    seeds = [{f"{stem}.{suffix}": lines(*rows)} for stem in ("corpus", "queries") for suffix in ("jsonl", "jsonl.gz")]
    seeds += [{"corpus.txt": b"one\ntwo\r\nthree"}, {"corpus.txt.gz": b"one\ntwo\n"}, {"queries.txt": b"one\ntwo\n"}]
    seeds += [{"corpus.csv": b"id,text,lang\n1,one,en\n2,two,\n"}, {"corpus.tsv": b"docid\tcontents\n1\tone\n"}]
    seeds += [{"corpus.parquet": parquet(id=["1", "2"], text=["one", "two"], title=["a", None], lang=["en", None])}]
    return Prepared(seeds, read)


# Tasks ---------------------------------------------------------------------------------------------------------------

PAIR_ROWS = lines(*({"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n / 2} for n in range(4)))
GROUPS = [
    {"query": "q", "positive": ["a"], "negative": ["b", "c"]},
    {"query": "r", "positive": ["d"], "negative": ["e"]},
]
SUITE: dict[str, Files] = {
    "sts": {"test.jsonl": PAIR_ROWS},
    "pair_classification": {
        "test.csv": b"sentence1,sentence2,label,group\na,b,1,x\nc,d,0,x\ne,f,1,y\n",
        "task.yaml": b"metric: cosine_ap\nprompts: {query: 'q: ', document: ''}\n",
    },
    "classification": {
        "train.jsonl": lines(*({"words": f"t {n}", "kind": "ab"[n % 2]} for n in range(8))),
        "test.tsv.gz": b"words\tkind\none\ta\ntwo\tb\nthree\ta\n",
        "task.yaml": b"samples_per_label: 2\ncolumns: {text: words, label: kind}\n",
    },
    "clustering": {"test.jsonl.gz": lines(*({"text": f"t {n}", "label": "ab"[n % 2]} for n in range(6)))},
    "reranking": {"test.jsonl": lines(*GROUPS)},
    "retrieval": {
        "corpus.jsonl": lines(*({"_id": f"d{n}", "title": "", "text": f"text {n}"} for n in range(4))),
        "queries.csv": b"_id,text\nq1,one\nq2,two\n",
        "qrels.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td3\t0\n",
    },
}


@target("task folders")
def task_folders(root: Path) -> Prepared:
    from poolwise.tasks import load_tasks

    def read(folder: Path) -> None:
        for task in load_tasks([str(folder)]):
            task.capped(2, 0).fingerprint  # noqa: B018 - it is computed
            task.item_texts()

    seeds = [{f"{kind}/toy/{name}": raw for name, raw in files.items()} for kind, files in SUITE.items()]
    beir = SUITE["retrieval"] | {"qrels/test.tsv": SUITE["retrieval"]["qrels.tsv"]}
    seeds.append({f"retrieval/toy/{name}": raw for name, raw in beir.items() if name != "qrels.tsv"})
    return Prepared(seeds, read)


# Scores of other tools -----------------------------------------------------------------------------------------------

QRELS = b"q1 0 d1 1\nq1 0 d2 0\nq2 0 d2 2\nq3 0 d3 1\n"
RUN = b"".join(b"%b Q0 d%d %d %.2f tag\n" % (q, d, d, 1 / d) for q in (b"q1", b"q2", b"q3") for d in (1, 2, 3))
UTF_16 = RUN.decode().encode("utf-16")
JSON_QRELS = {"q1": {"d1": 1, "d2": 0}, "q2": {"d2": 2}}
JSON_RUN = {"q1": {"d1": 0.5, "d2": 0.25}, "q2": {"d1": 0.1, "d2": 0.3}, "q3": {}}
META = {"name": "org/model", "revision": "abc1234"}
STS = {"main_score": 0.8, "cosine_spearman": 0.8, "hf_subset": "default", "languages": ["eng-Latn"]}
V2 = {"task_name": "STSBenchmark", "mteb_version": "2.1.0", "dataset_revision": "b0", "scores": {"test": [STS]}}
V1 = {
    "mteb_dataset_name": "STS12",
    "mteb_version": "1.0.2",
    "test": {"cos_sim": {"spearman": 0.7, "pearson": 0.7}, "evaluation_time": 1.5},
}
PREDICTED = {"default": {"test": JSON_RUN}, "mteb_model_meta": {"model_name": "org/model", "revision": "abc1234"}}
LONG = (
    b"model,task,item,score,category,seed,group,metric\n"
    + b"".join(b"%b,toy,i%d,0.%d,retrieval,0,g%d,\n" % (m, n, n, n % 2) for m in (b"A", b"B") for n in range(4))
)  # fmt: skip


def _read_scores(*paths: Path, qrels: Sequence[Path] = (), compares: bool = False) -> None:
    from poolwise.foreign import compare_inputs, input_entries, input_lines, read_inputs

    inputs = read_inputs(paths, qrels)
    input_entries(inputs)
    input_lines(inputs)
    if compares:
        compare_inputs(inputs, paths, num_resamples=100)


@target("TREC runs and qrels")
def trec(root: Path) -> Prepared:
    def read(folder: Path) -> None:
        judged = [path for path in folder.iterdir() if path.name.startswith("qrels")]
        _read_scores(*(path for path in folder.iterdir() if path not in judged), qrels=judged)

    header = b"query-id\tcorpus-id\tscore\n" + QRELS.replace(b" 0 ", b"\t").replace(b" ", b"\t")
    seeds: list[Files] = [{"a.trec": RUN, "qrels.qrels": QRELS}, {"a.trec": RUN, "qrels.tsv": header}]
    seeds += [
        {"a.trec.gz": RUN, "qrels.qrels.gz": QRELS},
        {"a.trec": RUN.decode().encode("utf-16"), "qrels.qrels": QRELS},
    ]
    seeds += [{"a.json": json.dumps(JSON_RUN).encode(), "qrels.json": json.dumps(JSON_QRELS).encode()}]
    seeds += [{"a.json.gz": json.dumps(JSON_RUN).encode(), "qrels.qrels": QRELS}]
    return Prepared(seeds, read)


@target("MTEB results and predictions")
def mteb(root: Path) -> Prepared:
    meta = json.dumps(META).encode()
    seeds: list[Files] = [
        {"model_meta.json": meta, "STSBenchmark.json": json.dumps(V2).encode(), "STS12.json": json.dumps(V1).encode()},
        {"abc1234/model_meta.json": meta, "abc1234/STSBenchmark.json": json.dumps(V2).encode()},
        {"SciFact_predictions.json": json.dumps(PREDICTED).encode(), "qrels.json": json.dumps(JSON_QRELS).encode()},
        {"external/STS12.json": json.dumps(V1).encode(), "abc1234/STSBenchmark.json": json.dumps(V2).encode()},
    ]

    def read(folder: Path) -> None:
        judged = [path for path in folder.iterdir() if path.name == "qrels.json"]
        place = root / "org__model"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place, ignore=lambda _, names: [name for name in names if name == "qrels.json"])
        _read_scores(place, qrels=judged)

    return Prepared(seeds, read)


def _score_tables() -> list[Files]:
    wide = b'task,A,B\nsts/one,0.5,0.6\nsts/two,50%,"0,7"\nAverage,0.5,0.65\n'
    models = b"model,STS12,STSBenchmark\nA,0.5,0.6\nB,0.6,0.7\n"
    items = b"item,A,B\n1,0.5,0.6\n2,0.25,0.5\n3,1,0\n"
    seeds: list[Files] = [{"scores.csv": LONG}, {"scores.csv": wide}, {"scores.csv": models}, {"scores.tsv": items}]
    seeds += [{"scores.csv.gz": LONG}, {"scores.csv": LONG.replace(b",", b";")}]
    columns = {"model": ["A", "B"] * 2, "task": ["t"] * 4, "item": [1, 1, 2, 2], "score": [0.5, 0.25, 1.0, 0.0]}
    return [*seeds, {"scores.parquet": parquet(**columns)}]


@target("tables of scores")
def score_tables(root: Path) -> Prepared:
    return Prepared(_score_tables(), lambda folder: _read_scores(only_file(folder)))


@target("comparisons of tables", share=0.1)
def compared_tables(root: Path) -> Prepared:
    return Prepared(_score_tables(), lambda folder: _read_scores(only_file(folder), compares=True))


@target("runs and studies", share=0.6)
def own_runs(root: Path) -> Prepared:
    from poolwise.records import ItemScores, RunManifest, TrainingStep, load_steps, save_items, save_record

    study = root / "study"
    names = []
    for design in ("mean+causal", "last+causal"):
        name = f"{design.replace('+', '-')}-s0-0123abcd"
        names.append(name)
        manifest = RunManifest(name=design, kind="trained", design=design, seed=0, model="model", training={"steps": 2})
        save_record(manifest, study / "runs" / name / "run.json")
        scores = ItemScores(
            task="sts/toy",
            category="sts",
            metric="cosine_spearman",
            score=0.5,
            num_total=3,
            fingerprint="f" * 16,
            ids=["0", "1", "2"],
            values=[0.1, 0.2, 0.5],
            gold=[0.0, 1.0, 2.0],
        )
        save_items(scores, study / "runs" / name)
        step = TrainingStep(step=1, loss=1.0, learning_rate=0.1, tokens=3, seconds=0.1, negatives=1.0)
        (study / "runs" / name / "training.jsonl").write_text(step.model_dump_json() + "\n")
    (study / "plan.json").write_text(json.dumps({"runs": names}))
    recipe = {"designs": ["mean+causal", "last+causal"], "reference": "last+causal", "comparisons": ["reference"]}
    (study / "study.json").write_text(json.dumps(recipe | {"seeds": [0, 1, 2], "until_decided": True}))

    def seal(folder: Path) -> None:
        from poolwise.storage.checksums import checksums

        for items in folder.glob("runs/*/items"):
            found = checksums(items, items.glob("*/*.json.gz"))
            (items / "checksums.json").write_text(json.dumps(found))

    def read(folder: Path) -> None:
        _read_scores(folder)
        for steps in folder.glob("runs/*/training.jsonl"):
            load_steps(steps)

    return Prepared([files_of(study)], read, seal)


# Recipes and what is written on a command line -----------------------------------------------------------------------

RECIPE = b"""
name: toy
base: poolwise/nano
base_dtype: auto
designs: [mean+causal, "multilayer(layers=last2)+bidirectional", paper:2]
reference: mean+causal
comparisons: [reference, pooling_given_attention]
family: all
seeds: [0, 1, 2]
data:
  train: [pairs.jsonl, {source: more.jsonl, category: sts, columns: {query: a, positive: b, negative: [c]}}]
  max_rows: 10
train: {steps: 5, batch_size: 4, learning_rate: 2.0e-5, max_tokens: 32, early_stopping: {dev: [tasks/sts], every: 2}}
tune: {dev: [tasks/dev], steps: 2, learning_rate: [1.0e-4, 0.01]}
adapt: {steps: 3, data: [texts.jsonl], mask_token: _}
eval: {max_tokens: 64, batch_size: 8, precision: fp32}
price: {gpu: a100, utilisation: 0.5, chars_per_token: 3.5}
prompts: {retrieval: {query: "query: ", document: ""}}
tasks: [tasks, "mteb:SciFact", ./suite@dev]
max_items: 100
anchors: [untuned, random]
entrants: [org/model]
"""
SMALL = b"name: a\nbase: b\ndesigns: [mean+causal]\nreference: mean+causal\ndata: {train: [c.jsonl]}\ntasks: [d]\n"


@target("recipes")
def recipes(root: Path) -> Prepared:
    from poolwise.config import build_recipe, load_recipe

    def read(folder: Path) -> None:
        recipe = load_recipe(folder / "recipe.yaml")
        assert build_recipe(recipe.model_dump(mode="json")).fingerprint == recipe.fingerprint

    return Prepared([{"recipe.yaml": RECIPE}, {"recipe.yaml": SMALL}, {"recipe.yaml": SMALL}], read)


OPTIONS = (
    *("design:latent(keys=last,heads=4)+bidirectional(top=2)", "design:pma(queries=2,dim=64)+causal", "design:paper:3"),
    *("design:mean(skip=bos)+bidirectional(on=prompt)", "design:multilayer(layers=5-8,tokens=last)+causal"),
    *("where:year>=2020", "where:lang=en", "where:lang!=None", "where: score < 1e3 ", "where:lang>=2020-01-01"),
    *(
        "set:train.steps=50",
        "set:seeds=[0, 1]",
        "set:base=org/name",
        "set:prompts.retrieval.query=q: ",
        "set:adapt=null",
    ),
    *("set:prompts.retrieval.query=q: ", "set:train={steps: 3, batch_size: 2}"),
    *("set:tasks=a", "set:name=x", "chunk:tokens=256,overlap=32", "chunk:tokens=8"),
    *("base:org/name@main", "base:~/x", "arm:A=model", "index:name=folder", "layers:every2"),
)


@target("options")
def options(root: Path) -> Prepared:
    import copy

    import pyarrow as pa
    import yaml

    from poolwise.base_sources.find import find_gguf
    from poolwise.config import Recipe, build_recipe
    from poolwise.corpus.chunks import parse_chunking
    from poolwise.design import parse_design
    from poolwise.hub import is_hub_id
    from poolwise.layer_subsets import LayerSubset
    from poolwise.overrides import apply_override
    from poolwise.search.where import conditions_of, find_matching
    from poolwise.serving.served_indexes import parse_indexes

    tree = yaml.safe_load(SMALL)
    table = pa.table({"id": ["a", "b"], "lang": ["en", None], "year": ["2020", "x"], "score": [1.0, 2.0]})

    class Rows:
        columns = table.column_names

        def __init__(self) -> None:
            self.table = table

        def __len__(self) -> int:
            return len(table)

    def design(text: str) -> None:
        found = parse_design(text)
        assert parse_design(str(found)) == found and found.slug
        found.require_layers(12)
        found.require_width(64)

    def override(text: str) -> None:
        mine = copy.deepcopy(tree)
        apply_override(mine, text, Recipe)
        build_recipe(mine)

    parsers: dict[str, Callable[[str], object]] = {
        "design": design,
        "where": lambda text: find_matching(Rows(), conditions_of(text)),  # type: ignore[arg-type]
        "set": override,
        "chunk": parse_chunking,
        "base": lambda text: is_hub_id(text) or find_gguf(text),
        "arm": lambda text: parse_indexes([text]),
        "index": lambda text: parse_indexes([text]),
        "layers": lambda text: LayerSubset(text).numbers(12),
    }

    def read(folder: Path) -> None:
        kind = only_file(folder).name
        # As a command line gives bytes that are not UTF-8.
        parsers[kind](only_file(folder).read_bytes().decode("utf-8", "surrogateescape"))

    seeds = [{kind: rest.encode()} for kind, _, rest in (text.partition(":") for text in OPTIONS)]
    return Prepared(seeds, read)


# Models and bases ----------------------------------------------------------------------------------------------------


def _gguf() -> bytes:
    """Return a small GGUF file of version 3: metadata of every type, two tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    values = {
        "general.architecture": struct.pack("<I", 8) + text("llama"),
        "general.alignment": struct.pack("<II", 4, 32),
        "llama.block_count": struct.pack("<II", 4, 2),
        "llama.rope.scaling.type": struct.pack("<I", 8) + text("none"),
        "split.count": struct.pack("<IH", 2, 1),
        "tokenizer.ggml.tokens": struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        "tokenizer.ggml.scores": struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 0.0, 1.0),
        "x.float": struct.pack("<If", 6, 1.0),
        "x.double": struct.pack("<Id", 12, 1.0),
        "x.flag": struct.pack("<I?", 7, True),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, len(values))
    body = b"".join(text(key) + value for key, value in values.items())
    tensors = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 4, 2, 0, 0)
    tensors += text("output_norm.weight") + struct.pack("<IQIQ", 1, 4, 0, 32)
    start = head + body + tensors
    return start + b"\0" * (-len(start) % 32) + b"\0" * 64


@target("GGUF headers")
def gguf_headers(root: Path) -> Prepared:
    from poolwise.base_sources.gguf_header import read_header

    def read(folder: Path) -> None:
        header = read_header(only_file(folder))
        header.of_architecture("rope.scaling.type")

    return Prepared([{"model.gguf": _gguf()}], read)


@target("GGUF bases", share=0.02)
def gguf_bases(root: Path) -> Prepared:
    import os

    from poolwise.base_sources.find import find_gguf
    from poolwise.models.dequantise import dequantised
    from tiny_gguf import plain_model, write_gguf

    raw = write_gguf(root / "tiny.gguf", plain_model(root / "plain")).read_bytes()

    def read(folder: Path) -> None:
        os.environ["POOLWISE_CACHE"] = str(root / "cache")
        source = find_gguf(str(only_file(folder)))
        assert source is not None
        shutil.rmtree(dequantised(source))

    # Without it nearly all damage is in the weights, where it is a number like any other.
    return Prepared([{"model.gguf": raw}, {"model.gguf": _gguf()}], read)


@target("model folders", share=0.08)
def model_folders(root: Path) -> Prepared:
    import numpy as np

    import tiny_models
    from poolwise.models import build_model, load_model
    from poolwise.models.bases import base_fingerprint

    base = tiny_models.save_tiny_base(root / "base", "llama")
    for name, design in (("lora", "mlp+bidirectional"), ("frozen", "mean+causal")):
        model = build_model(design, base, max_tokens=16, precision="fp32", prompts={"query": "query : "})
        model.save(str(root / name), base="include")

    def seal(folder: Path) -> None:
        (folder / "checksums.json").unlink(missing_ok=True)
        config = folder / "poolwise.json"
        tree = json.loads(config.read_text())
        tree["base_fingerprint"] = base_fingerprint(str(folder / "base"))
        config.write_text(json.dumps(tree))

    def read(folder: Path) -> None:
        found = load_model(folder, precision="fp32").encode(["a dog runs"])
        assert np.isfinite(found).all()

    return Prepared([files_of(root / "lora"), files_of(root / "frozen")], read, seal)


@target("model cards")
def model_cards(root: Path) -> Prepared:
    from poolwise.cards import load_facts

    base = {"name": "poolwise/nano", "num_layers": 2, "hidden_size": 8, "num_parameters": 100, "fingerprint": "f"}
    model = {"design": "mean+causal", "method": "lora", "base": base, "width": 8, "max_tokens": 16, "num_trained": 3}
    found = {"category": "sts", "metric": "m", "num_tasks": 1, "num_items": 3, "own": 0.5, "mean": 0.5}
    score = {"task": "sts/a", "category": "sts", "metric": "m", "num_items": 3, "score": 0.5}
    against = {"name": "bm25", "mean": 0.4, "difference": 0.1, "interval": [0.0, 0.2]}
    study = {"name": "s", "recipe_hash": "h", "num_seeds": 1, "seed": 0, "tasks": [score]}
    card = {
        "name": "mine",
        "model": model | {"eos": "</s>", "eos_id": 2, "prompts": {"query": "q: "}, "probe": {"padded": True}},
        "training": {"sources": {"a": 3}, "seed": 0, "settings": {"steps": 2}},
        "study": study | {"categories": [found | {"baselines": [against]}]},
        "weights": {"model.safetensors": "0" * 64},
    }
    return Prepared([{"card.yaml": json.dumps(card).encode()}], lambda folder: load_facts(folder / "card.yaml"))


@target("front matter")
def front_matter(root: Path) -> Prepared:
    from poolwise.cards import licence_in
    from poolwise.errors import ConfigError

    def read(folder: Path) -> None:
        if not licence_in(folder / "README.md"):
            raise ConfigError("the front matter names no licence")

    texts = (
        "---\nlicense: mit\ntags:\n- a\n- b\n---\n# A model\n",
        "---\nlicense: other\nlicense_name: &a mine\nmodel-index: [{name: *a, results: [{value: 0.5}]}]\n---\n",
        "---\na: &a {license: mit}\n<<: [*a, *a]\ndate: 2020-01-01\nis_new: !!bool yes\n---\n",
    )
    return Prepared([{"README.md": text.encode()} for text in texts], read)


# Corpora and indexes -------------------------------------------------------------------------------------------------


@target("encoded corpora", share=0.2)
def corpora(root: Path) -> Prepared:
    from poolwise.corpus.manifest import load_manifest
    from poolwise.corpus.shards import load_keys
    from poolwise.search import build_index
    from search_folder import write_corpus

    found = [write_corpus(root / name, 9, shard_rows=4, **output)
             for name, output in (("one", {}), ("two", {"format": "npy", "dtype": "float16"}))]  # fmt: skip

    def seal(folder: Path) -> None:
        path = folder / "manifest.json"
        tree = json.loads(path.read_text())
        tree["checksum"] = ""  # as of an older version
        for shard in tree["shards"]:
            for file in shard["files"]:
                raw = (folder / "shards" / file["name"]).read_bytes()
                file |= {"num_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        path.write_text(json.dumps(tree))

    def read(folder: Path) -> None:
        out = Path(tempfile.mkdtemp(dir=root)) / "index"
        try:
            build_index(folder, out, backend="exact").close()
            for shard in load_manifest(folder).shards:
                load_keys(folder, shard)
        finally:
            shutil.rmtree(out.parent)

    return Prepared([files_of(folder) for folder in found], read, seal)


@target("indexes", share=0.4)
def indexes(root: Path) -> Prepared:
    import numpy as np

    from poolwise.search import open_index
    from search_folder import build

    build(root / "plain", 9, backend="exact").close()
    build(root / "words", 9, {"dtype": "float16"}, backend="exact", hybrid=True).close()

    def seal(folder: Path) -> None:
        path = folder / "index.json"
        tree = json.loads(path.read_text())
        for file in tree["files"]:
            raw = (folder / file["name"]).read_bytes()
            file |= {"num_bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        path.write_text(json.dumps(tree))
        from poolwise.records import load_record
        from poolwise.search.index_record import IndexRecord, save_index_record

        save_index_record(load_record(IndexRecord, path), folder)

    def read(folder: Path) -> None:
        with open_index(folder) as index:
            index.search(np.ones((2, 8), np.float32), k=3)
            index.search(np.ones((1, 8), np.float32), k=3, where="lang=en")

    return Prepared([files_of(root / "plain" / "index"), files_of(root / "words" / "index")], read, seal)


# Experiments ---------------------------------------------------------------------------------------------------------


def _experiment(root: Path) -> Path:
    from ab_folder import CLICKED, LATENCY, begun, design, run_traffic

    folder = begun(root / "ab", design(metrics=[CLICKED, LATENCY], min_users=5))
    run_traffic(folder, {"A": 0.3, "B": 0.6}, users=20)
    return folder


@target("experiment logs", share=0.4)
def experiment_logs(root: Path) -> Prepared:
    from poolwise.experiments import analyse
    from poolwise.experiments.design import load_design

    mark = b',"crc":"'

    def seal(folder: Path) -> None:
        log, design = folder / "events.jsonl", folder / "design.yaml"
        sealed = []
        for number, raw in enumerate(log.read_bytes().split(b"\n")):
            body, _, _ = raw.rpartition(mark)
            if not body:
                sealed.append(raw)
                continue
            if number == 0:
                tree = json.loads(body + b"}")
                tree["fingerprint"] = load_design(design).fingerprint
                body = json.dumps(tree).encode()[:-1]
            sealed.append(body + mark + f'{zlib.crc32(body):08x}"}}'.encode())
        log.write_bytes(b"\n".join(sealed))

    return Prepared([files_of(_experiment(root))], lambda folder: analyse(folder, 2e9), seal)


@target("imported logs", share=0.4)
def imported_logs(root: Path) -> Prepared:
    from poolwise.experiments import analyse, import_log, open_log

    design = (_experiment(root) / "design.yaml").read_bytes()
    exposures = [
        {"user": f"u{n}", "arm": "AB"[n % 2], "time": 1.7e9 + n, "id": f"e{n}", "latency": 5.5, "error": 0,
         "covariate": 1.0, "click": n % 2, "rating": 3, "conversion": 2.5} for n in range(6)
    ]  # fmt: skip
    feedback = [
        {"exposure": "e1", "event": "click", "time": "2026-01-01T00:00:00Z", "value": 1, "item": "d", "id": "f"}
    ]
    head = list(exposures[0])
    table = "\n".join([",".join(head), *(",".join(str(row[name]) for name in head) for row in exposures)]) + "\n"
    seeds: list[Files] = [
        {"log.jsonl": lines(*exposures)},
        {"log.jsonl": lines(*feedback)},
        {"log.csv": table.encode()},
    ]
    seeds += [{"log.parquet": parquet(**{name: [row[name] for row in exposures] for name in head})}]

    def read(folder: Path) -> None:
        place = Path(tempfile.mkdtemp(dir=root))
        (place / "design.yaml").write_bytes(design)
        try:
            with open_log(place) as log:
                log.expose("someone", "A", id="e1", time=1.7e9)
                import_log(log, only_file(folder))
            analyse(place, 2e9)
        finally:
            shutil.rmtree(place)

    return Prepared(seeds, read)


# HTTP ----------------------------------------------------------------------------------------------------------------


class ServerError(Exception):
    """An answer with a status of 500 or above, or embeddings that are not finite."""


class RefusedError(Exception):
    """An answer with a status from 400 to 499: what an error of poolwise is over HTTP."""


@target("HTTP requests", share=0.6)
def http_requests(root: Path) -> Prepared:
    import numpy as np

    import tiny_models
    from ab_folder import begun, design
    from poolwise.experiments import open_log
    from poolwise.models import build_model
    from poolwise.serving import ServedExperiment, ServedModel, ServeSettings, create_app
    from poolwise.serving.page import PAGE_PATHS, add_page

    base = tiny_models.save_tiny_base(root / "base", "gpt2")
    model = build_model("mean+causal", base, max_tokens=16, precision="fp32", prompts={"query": "q: "})
    model[0].matryoshka = (16, 32)
    models = {name: ServedModel(name, model) for name in ("A", "B")}
    opened = open_log(begun(root / "ab", design()))
    settings = ServeSettings(max_texts=8, max_body_bytes=1 << 20)
    experiment = ServedExperiment(opened.__enter__(), models)
    app = create_app(models, settings, experiment=experiment, open_paths=PAGE_PATHS)
    add_page(app)
    loop = asyncio.new_event_loop()

    async def ask(folder: Path) -> tuple[int, bytes]:
        try:
            head = dict(json.loads((folder / "head.json").read_bytes()))
            body, sent = (folder / "body.json").read_bytes(), []
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RefusedError("the files do not describe a request") from error
        method, path, query, headers = (head.get(key) for key in ("method", "path", "query", "headers"))
        parts = [body[:7], body[7:]] if head.get("is_split") else [body]

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        named = headers if isinstance(headers, dict) else {}
        raw = [
            (str(k).encode("latin-1", "ignore").lower(), str(v).encode("latin-1", "ignore")) for k, v in named.items()
        ]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "method": str(method), "path": str(path), "raw_path": str(path).encode("utf-8", "surrogatepass"),
            "query_string": str(query).encode("utf-8", "surrogatepass"), "headers": raw, "client": ("127.0.0.1", 1),
            "server": ("localhost", 80), "state": {},
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 30)
        start = next(message for message in sent if message["type"] == "http.response.start")
        return start["status"], b"".join(message.get("body", b"") for message in sent)

    def read(folder: Path, _kept: object = opened) -> None:  # the log closes with its context manager
        status, answer = loop.run_until_complete(ask(folder))
        if status >= 500:
            raise ServerError(f"status {status}: {answer[:200]!r}")
        if status >= 400:
            assert 0 < len(answer) < 5000 and json.loads(answer), f"status {status}: {answer[:200]!r}"
            raise RefusedError(str(status))
        found = json.loads(answer) if answer.startswith(b"{") else {}
        for row in found.get("data", ()):
            vector = row.get("embedding", ())
            if isinstance(vector, list) and not np.isfinite(vector).all():
                raise ServerError("an embedding is not finite")

    def request(path: str, body: object, method: str = "POST", **more: object) -> Files:
        headers = {"host": "localhost", "content-type": "application/json", "x-request-id": "1", "x-poolwise-key": "u"}
        head = {"method": method, "path": path, "query": "", "headers": headers, **more}
        return {"head.json": json.dumps(head).encode(), "body.json": json.dumps(body).encode()}

    openai = {"model": "A", "input": ["a text", "b"], "encoding_format": "base64", "user": "u", "dimensions": 16}
    cohere = {"model": "A", "texts": ["a"], "input_type": "query", "embedding_types": ["int8", "binary", "float"],
              "output_dimension": 16, "truncate": "START"}  # fmt: skip
    seeds = [
        request("/v1/embeddings", openai),
        request("/v1/embeddings", {"model": "A", "input": "a text", "input_type": "query"}, is_split=True),
        request("/v1/embeddings", {"model": "A", "input": [[1, 2, 3], [4]]}),
        request("/v1/embeddings", {"model": "toy", "input": "a text", "user": "someone"}),
        request("/v2/embed", cohere),
        request("/v1/feedback", {"id": "f1", "exposure": "e1", "event": "rating", "value": 3.5, "item": "d"}),
        request("/page/similarity", {"models": ["A", "B"], "texts": ["a", "b", "c"], "input_type": None}),
        request("/page/weights", {"models": ["A"], "text": "some words"}),
        request("/page/search", {"indexes": ["x"], "query": "q", "k": 3}),
        request("/v1/models/A", {}, "GET"),
        request("/page/report", {}, "GET", query="ticket=abc"),
        request("/info", {}, "GET"),
    ]
    return Prepared(seeds, read)


@target("key files")
def key_files(root: Path) -> Prepared:
    from poolwise.serving.access import load_keys

    return Prepared([{"keys": b"# ours\none\ntwo\n"}], lambda folder: load_keys(folder / "keys", {}))
