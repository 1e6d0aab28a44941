"""Encodes a corpus: rows of any source, in a stream, to shards of embeddings that a second run updates."""

from poolwise.corpus.corpus import encode_corpus
from poolwise.corpus.manifest import Manifest, load_manifest
from poolwise.corpus.pace import Progress
from poolwise.corpus.settings import CorpusConfig
from poolwise.corpus.shards import load_shard

__all__ = ["CorpusConfig", "Manifest", "Progress", "encode_corpus", "load_manifest", "load_shard"]
