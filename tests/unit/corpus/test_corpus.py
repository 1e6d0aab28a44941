"""``encode_corpus`` with real models: same embeddings as ``encode``, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from corpus_folder import stored, write_jsonl
from poolwise.corpus import CorpusConfig, encode_corpus, load_manifest, load_shard
from poolwise.corpus.chunks import Chunking
from poolwise.corpus.quantise import from_int8
from poolwise.errors import ConfigError, DataError
from poolwise.models import EmbeddingModel, build_model

TEXTS = {f"d{number}": text for number, text in enumerate((*tiny_models.TEXTS, *tiny_models.WORDS))}
LONG = "the old man plays a guitar in the park and sings . how do i sort a list of words by length in the shell"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_models.save_tiny_base(tmp_path_factory.mktemp("bases") / "llama", "llama")


def build(base: str, design: str = "mean+bidirectional", **options: Any) -> EmbeddingModel:
    return build_model(design, base, max_tokens=options.pop("max_tokens", 32), precision="fp32", **options)


@pytest.fixture(scope="module")
def model(base: str) -> EmbeddingModel:
    return build(base, prompts={"document": "document : ", "query": "query : "})


def run(model: Any, source: Path, out: Path, **options: Any) -> dict[str, Any]:
    encode_corpus(model, [str(source)], out, CorpusConfig(**options))
    return dict(stored(out))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", TEXTS)


def test_embeddings_are_those_of_encode_document(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    found = run(model, source, tmp_path / "out", shard_rows=7)
    wanted = model.encode_document(list(TEXTS.values()))
    assert list(found) == list(TEXTS)
    np.testing.assert_allclose(np.array(list(found.values())), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "prompt"),
    [({"prompt": "one : "}, "one : "), ({"prompt_name": "query"}, "query : "), ({"prompt": ""}, "")],
)
def test_the_prompt_is_chosen(
    model: EmbeddingModel, source: Path, tmp_path: Path, options: dict[str, str], prompt: str
) -> None:
    found = run(model, source, tmp_path / "out", **options)
    np.testing.assert_allclose(
        np.array(list(found.values())), model.encode(list(TEXTS.values()), prompt=prompt), atol=1e-6
    )
    assert load_manifest(tmp_path / "out").model.prompt == prompt


def test_int8_uses_ranges_that_are_kept(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exact = run(model, source, tmp_path / "exact")
    found = run(model, source, out, dtype="int8", shard_rows=7)
    ranges = np.load(out / "ranges.npy")
    values = np.array([exact[key] for key in found])
    np.testing.assert_allclose(ranges, [values.min(axis=0), values.max(axis=0)], atol=1e-6)
    decoded = from_int8(np.array(list(found.values()), np.int8), ranges)
    assert (np.abs(decoded - values) <= (ranges[1] - ranges[0]) / 255 / 2 + 1e-5).all()
    write_jsonl(source, {"only": "a dog runs"})
    run(model, source, out, dtype="int8")
    assert (np.load(out / "ranges.npy") == ranges).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": "other"}, "another model: prompt 'document : ' there, 'other' now"),
        ({"max_tokens": 16}, "another model: max_tokens 32 there, 16 now"),
        ({"dtype": "float16"}, "another output: dtype 'float32' there, 'float16' now"),
        ({"design": "last+bidirectional"}, "pooling 'mean' there, 'last' now"),
        ({"design": "mean+causal"}, "attention 'bidirectional' there, 'causal' now"),
        ({"seed": 1}, "weights "),
        ({"precision": "bf16"}, "precision 'fp32' there, 'bf16' now"),
        ({"split_special_tokens": False}, "tokenizer "),
    ],
)
def test_another_model_or_output_is_refused_and_named(
    base: str, model: EmbeddingModel, source: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    run(model, source, tmp_path / "out")
    other = model
    options = {key: value for key, value in change.items() if key in ("prompt", "dtype")}
    if not options:
        chosen = {"precision": "fp32", "max_tokens": 32, **change}
        other = build_model(chosen.pop("design", "mean+bidirectional"), base, prompts=dict(model.prompts), **chosen)
        if "seed" in change:
            other[0].model.embed_tokens.weight.data[5] += 1
    with pytest.raises(ConfigError) as raised:
        run(other, source, tmp_path / "out", **options)
    assert named in str(raised.value)


def test_a_saved_model_is_the_same_model(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    model.save(str(tmp_path / "model"))
    before = run(model, source, tmp_path / "out")
    config = CorpusConfig(precision="fp32", device="cpu")
    done = encode_corpus(str(tmp_path / "model"), [str(source)], tmp_path / "out", config)
    assert (done.num_encoded, done.num_kept) == (0, len(TEXTS))
    again = encode_corpus(str(tmp_path / "model"), [str(source)], tmp_path / "new", config)
    assert again.manifest.fingerprint == done.manifest.fingerprint
    np.testing.assert_allclose(list(dict(stored(tmp_path / "new")).values()), list(before.values()), atol=1e-5)


def test_dimensions_are_cut_where_they_were_trained(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--dim 8: the model is not known to be trained for embeddings of 8"):
        run(model, source, tmp_path / "out", dim=8)
    model[0].matryoshka = (8, 32)
    try:
        found = run(model, source, tmp_path / "out", dim=8)
        with pytest.raises(ConfigError, match=r"--dim 12.*wanted one of 8, 32"):
            run(model, source, tmp_path / "other", dim=12)
    finally:
        model[0].matryoshka = ()
    cut = model.encode_document(list(TEXTS.values()))[:, :8]
    wanted = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(np.array(list(found.values())), wanted, atol=1e-6)


def test_a_folder_of_something_else_is_refused(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds corpus.jsonl; wanted a new folder"):
        run(model, source, tmp_path)


def test_what_a_kill_before_the_first_manifest_left_is_nothing(
    model: EmbeddingModel, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json.partial").write_text("{")
    assert run(model, source, tmp_path / "out") == run(model, source, tmp_path / "other")
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_stock_model_is_encoded_too(source: Path, tmp_path: Path, base: str) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    first = Transformer(base)
    stock = SentenceTransformer(modules=[first, Pooling(first.get_embedding_dimension(), "mean")], device="cpu")
    found = run(stock, source, tmp_path / "out")
    np.testing.assert_allclose(np.array(list(found.values())), stock.encode(list(TEXTS.values())), atol=1e-5)
    assert load_manifest(tmp_path / "out").model.attention == "causal"


def test_a_pattern_does_not_read_its_own_output(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    run(model, source, tmp_path / "out")
    with pytest.raises(DataError, match=r"shards/.*parquet lies in --out"):
        encode_corpus(model, [f"{tmp_path}/**/*.parquet"], tmp_path / "out", CorpusConfig())


CHUNKED = CorpusConfig(chunking=Chunking(10, 2), pool_chunks=True)


def chunks_of(model: EmbeddingModel, tmp_path: Path, text: str, config: CorpusConfig = CHUNKED) -> dict[str, Any]:
    source = write_jsonl(tmp_path / "long.jsonl", {"x": text, "y": "a dog runs"})
    encode_corpus(model, [str(source)], tmp_path / "chunks", config)
    manifest = load_manifest(tmp_path / "chunks")
    found: dict[str, Any] = {}
    for shard in manifest.shards:
        table, matrix = load_shard(tmp_path / "chunks", shard)
        for row, vector in zip(table.to_pylist(), matrix, strict=True):
            found[row["id"]] = (row, vector)
    return found


@pytest.mark.parametrize("design", ["mean+bidirectional", "last+causal", "mean(skip=bos)+causal"])
@pytest.mark.parametrize("prompt", ["", "document : "])
def test_a_single_chunk_is_the_whole_text(base: str, tmp_path: Path, design: str, prompt: str) -> None:
    model = build(base, design, max_tokens=60)
    found = chunks_of(model, tmp_path, LONG, replace(CHUNKED, chunking=Chunking(60), prompt=prompt))
    assert set(found) == {"x#0", "y#0"}
    wanted = model.encode([LONG, "a dog runs"], prompt=prompt)
    np.testing.assert_allclose(np.stack([found["x#0"][1], found["y#0"][1]]), wanted, atol=1e-5)


def test_late_chunks_are_means_of_the_document_s_states(base: str, tmp_path: Path) -> None:
    import torch

    model = build(base, max_tokens=60)
    found = chunks_of(model, tmp_path, LONG)
    features = model[0].preprocess([LONG])
    with torch.no_grad():
        states = model[0](features)["token_embeddings"][0].numpy()
    pieces = [vector for key, vector in found.items() if key.startswith("x#")]
    assert len(pieces) > 2
    for key, (row, vector) in found.items():
        if not key.startswith("x#"):
            continue
        # One BOS before the words; it counts with the first chunk, and EOS with the last.
        start, end = row["start_token"] + 1, row["end_token"] + 1
        start, end = (0 if row["chunk"] == 0 else start), (len(states) if row["end_char"] == len(LONG) else end)
        mean = states[start:end].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_document_beyond_the_model_is_read_in_parts(base: str, tmp_path: Path) -> None:
    model = build(base, max_tokens=28)
    found = chunks_of(model, tmp_path, LONG)
    assert all(np.isfinite(vector).all() for _, vector in found.values())
    words = LONG.split()
    last = max(row["end_token"] for row, _ in found.values())
    assert last == len(words)


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ("multilayer+causal", "multilayer was trained to pool whole texts"),
        ("latent+causal", "latent was trained to pool whole texts"),
        ("mean(echo=true)+causal", "it reads a text twice"),
        ("soft_tokens+causal", "it pools trained tokens after the whole text"),
        ("landmark+causal", "it pools landmarks, whose chunks are not those of the corpus"),
    ],
)
def test_late_chunking_is_refused_where_it_is_not_defined(base: str, tmp_path: Path, design: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"--pool-chunks with .*{reason}"):
        chunks_of(build(base, design, max_tokens=24), tmp_path, LONG)
    with pytest.raises(ConfigError, match="--pool-chunks without --chunk"):
        CorpusConfig(pool_chunks=True)


@pytest.mark.slow
def test_several_processes_give_the_bytes_of_one(model: EmbeddingModel, source: Path, tmp_path: Path) -> None:
    model.save(str(tmp_path / "model"))
    config = CorpusConfig(precision="fp32", device="cpu", shard_rows=7, dtype="int8")
    one = encode_corpus(str(tmp_path / "model"), [str(source)], tmp_path / "one", config)
    two = encode_corpus(str(tmp_path / "model"), [str(source)], tmp_path / "two", replace(config, processes=2))
    assert len(one.manifest.shards) > 2
    assert one.manifest == two.manifest, "with the sha256 of every shard"
    with pytest.raises(ConfigError, match="several processes with a loaded model"):
        encode_corpus(model, [str(source)], tmp_path / "three", CorpusConfig(processes=2))
