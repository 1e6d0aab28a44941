"""``CorpusConfig``: how a corpus is read, encoded and stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from poolwise.base_dtypes import Precision
from poolwise.corpus.chunks import Chunking
from poolwise.corpus.manifest import Dtype, Format
from poolwise.corpus.rows import Columns
from poolwise.errors import ConfigError, require_choice

SHARD_ROWS = 8192
"""Two windows of texts that are sorted by length together (``kernels.reading.WINDOW``), and 8 MB at 256 numbers."""
EngineName = Literal["local", "ray"]


@dataclass(frozen=True)
class CorpusConfig:
    """How a corpus is read, encoded and stored. The command ``poolwise encode`` has an option for each.

    Args:
        columns: which fields of a row are its id, its text and its title, and which are stored.
        split: of data sets of the hub.
        prompt: put before every text; None takes that named by ``prompt_name``, or the model's prompt for documents.
        max_tokens: truncate texts at another length than the model's.
        precision: of matrix products, as in ``load_model``.
        device: such as "cpu" or "cuda:1"; None takes a GPU if there is one.
        engine: "local", or "ray" for the workers of a Ray cluster.
        ray_address: of the cluster, as in ``jobs.ray_cluster.connected``; None starts one on this machine.
        processes: that encode at the same time, each with a GPU of its own where there are GPUs. None is 1, and on a
            cluster one for each GPU or, without GPUs, for each node.
        format: "parquet", with fixed-size lists, or "npy", with a parquet file of the rows beside each matrix.
        dtype: of the stored numbers; "binary" is eight dimensions to a byte.
        dim: keep so many first numbers of each embedding, scaled to length 1; the model must be trained for it.
        keep_text: store the encoded texts.
        chunking: split documents; None encodes each as one text, which is truncated at ``max_tokens``.
        pool_chunks: read a document whole, and pool each chunk's tokens.
        shard_rows: the most rows of a shard.
        is_strict: a bad row is an error.
    """

    columns: Columns = field(default_factory=Columns)
    split: str = "train"
    prompt: str | None = None
    prompt_name: str | None = None
    max_tokens: int | None = None
    precision: Precision = "auto"
    device: str | None = None
    engine: EngineName = "local"
    ray_address: str | None = None
    processes: int | None = None
    format: Format = "parquet"
    dtype: Dtype = "float32"
    dim: int | None = None
    keep_text: bool = False
    chunking: Chunking | None = None
    pool_chunks: bool = False
    shard_rows: int = SHARD_ROWS
    is_strict: bool = False

    def __post_init__(self) -> None:
        if self.pool_chunks and self.chunking is None:
            raise ConfigError("--pool-chunks without --chunk", "wanted both", "add --chunk tokens=256,overlap=32")
        choices = {"format": get_args(Format), "dtype": get_args(Dtype), "precision": get_args(Precision)}
        choices["engine"] = get_args(EngineName)
        for name, known in choices.items():
            require_choice(f"--{name}", getattr(self, name), known)
        if self.ray_address is not None and self.engine != "ray":
            raise ConfigError(f"--ray-address {self.ray_address} without --engine ray", "wanted both or neither")
        if self.engine == "ray" and self.device not in (None, "cpu", "cuda"):
            raise ConfigError(
                f"--device {self.device} with --engine ray", "wanted cpu or cuda: each worker has a GPU of its own"
            )
        for name, value in (("processes", self.processes), ("shard_rows", self.shard_rows)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}", "wanted 1 or more")
