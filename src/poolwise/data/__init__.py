"""Training data: files in every known format -> triples -> a batch schedule that is the same for every design."""

from poolwise.data.plain_texts import load_plain_texts, texts_fingerprint, triple_texts
from poolwise.data.schedule import Schedule, build_schedule, load_schedule, save_schedule
from poolwise.data.sources import describe_sources, load_source, load_sources, read_sources, sample_triples
from poolwise.data.triples import Source, TrainingData, Triple, triples_fingerprint

__all__ = [
    "Schedule",
    "Source",
    "TrainingData",
    "Triple",
    "build_schedule",
    "describe_sources",
    "load_plain_texts",
    "load_schedule",
    "load_source",
    "load_sources",
    "read_sources",
    "sample_triples",
    "save_schedule",
    "texts_fingerprint",
    "triple_texts",
    "triples_fingerprint",
]
