"""``poolwise encode``: a corpus into a folder of embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli.options import Device, Json, command_line, require_model, say, show, show_json, step_view

if TYPE_CHECKING:
    from poolwise.cli.progress_view import StepView
    from poolwise.cli.quiet_view import QuietView
    from poolwise.corpus import Progress
    from poolwise.corpus.corpus import Summary

EXAMPLES = (
    "poolwise encode runs/mine corpus.jsonl --out embeddings",
    "poolwise encode runs/mine 'parts/*.parquet' --out chunks --chunk tokens=256,overlap=32 --keep-text",
)


def encode(
    model: Annotated[str, typer.Argument(help="Embedding model: run, folder or hub id.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files (jsonl, parquet, csv, tsv, txt), folders, patterns, URLs, data sets of the hub, or - (stdin).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the embeddings; one that was begun is continued or updated.")],
    id_column: Annotated[str | None, typer.Option(help="Field of the ids.", show_default="detected")] = None,
    text_column: Annotated[str | None, typer.Option(help="Field of the texts.", show_default="detected")] = None,
    title_column: Annotated[
        str | None, typer.Option(help="Field that is put before the text.", show_default="title")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Store a field with the embeddings; repeatable.", show_default="none"),
    ] = None,
    keep_text: Annotated[bool, typer.Option("--keep-text", help="Store the encoded texts.")] = False,
    split: Annotated[str, typer.Option(help="Split of data sets of the hub.")] = "train",
    prompt: Annotated[
        str | None, typer.Option(help="Text before every document.", show_default="the model's document prompt")
    ] = None,
    prompt_name: Annotated[
        str | None, typer.Option(help="Name of one of the model's prompts.", show_default="document")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Truncate texts to this many tokens.", show_default="the model's own length")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16, or auto: bf16 where it is fast.")] = "auto",
    format_: Annotated[str, typer.Option("--format", help="Of the shards: parquet or npy.")] = "parquet",
    dtype: Annotated[str, typer.Option(help="Of the stored numbers: float32, float16, int8 or binary.")] = "float32",
    dim: Annotated[
        int | None,
        typer.Option(help="Keep this many first numbers, if the model was trained for it.", show_default="all"),
    ] = None,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="tokens=N,overlap=M",
            help="Split documents into chunks of N tokens, M of which the next repeats.",
            show_default="no chunks",
        ),
    ] = None,
    pool_chunks: Annotated[
        bool, typer.Option("--pool-chunks", help="Read a document whole, then pool the tokens of each chunk.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad row.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: the workers of a Ray cluster.")] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="ray://HOST:PORT, HOST:PORT, or auto.", show_default="a cluster on this machine"
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes; each has a GPU of its own if there are any.",
            show_default="1; with ray one per GPU, or per node without GPUs",
        ),
    ] = None,
    shard_rows: Annotated[int, typer.Option(min=1, help="Most rows of a shard.")] = 8192,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Encode a corpus of any size; a repeated command resumes, or encodes what has changed.

    Rows that cannot be used are listed in rejected.jsonl, with reasons.
    """
    require_model(model)
    from poolwise.corpus import CorpusConfig, encode_corpus
    from poolwise.corpus.chunks import parse_chunking
    from poolwise.corpus.rows import Columns

    config = CorpusConfig(
        columns=Columns(id_column, text_column, title_column, tuple(keep or [])),
        split=split,
        prompt=prompt,
        prompt_name=prompt_name,
        max_tokens=max_tokens,
        precision=precision,  # type: ignore[arg-type]  # checked by the configuration
        format=format_,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        dim=dim,
        chunking=None if chunk is None else parse_chunking(chunk),
        pool_chunks=pool_chunks,
        keep_text=keep_text,
        is_strict=strict,
        engine=engine,  # type: ignore[arg-type]
        ray_address=ray_address,
        processes=processes,
        shard_rows=shard_rows,
        device=device,
    )
    try:
        with step_view("rows") as view:
            done = encode_corpus(model, inputs, out, config, _shown_on(view))
    except KeyboardInterrupt:
        say(f"resume with: {command_line()}")
        raise
    if as_json:
        show_json(_json(done))
    else:
        show("\n".join(_lines(done, out)))


def _shown_on(view: StepView | QuietView) -> Callable[[Progress], None]:
    from poolwise.cli.plan_view import duration

    def show(progress: Progress) -> None:
        rate = "" if progress.rows_per_second is None else f"{progress.rows_per_second:,.0f} rows/s"
        left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
        view.advance(progress.num_done, progress.num_total or progress.num_done, rate + left)

    return show


def _lines(done: Summary, out: Path) -> list[str]:
    manifest = done.manifest
    output = manifest.output
    lines = [
        f"{done.num_read:,} rows read: {done.num_encoded:,} encoded, {done.num_kept:,} kept from before, "
        f"{done.num_dropped:,} dropped, {done.num_rejected:,} set aside",
        f"{out}: {manifest.num_rows:,} embeddings of {output.dim} numbers, {output.dtype}, "
        f"in {len(manifest.shards)} shards ({output.format})",
    ]
    return [*lines, f"set aside: {out / 'rejected.jsonl'}"] if done.num_rejected else lines


def _json(done: Summary) -> dict[str, object]:
    counts = {name: getattr(done, f"num_{name}") for name in ("read", "encoded", "kept", "dropped", "rejected")}
    rows = {"rows": done.manifest.num_rows, "shards": len(done.manifest.shards)}
    return {**counts, **rows, "fingerprint": done.manifest.fingerprint}
