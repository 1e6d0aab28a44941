"""Which tasks are versions of one another, or made of the same texts."""

import pytest

from poolwise.stats.designs.task_families import family_of


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("clustering/BiorxivClusteringP2P", "clustering/BiorxivClusteringP2P.v2"),
        ("clustering/ArxivClusteringS2S", "clustering/ArXivHierarchicalClusteringS2S"),
        ("retrieval/Touche2020", "retrieval/Touche2020Retrieval.v3"),
        ("retrieval/FEVER", "retrieval/FEVERHardNegatives"),
        ("sts/STS22", "sts/STS22.v2"),
    ],
)
def test_versions_of_one_task(one: str, two: str) -> None:
    first, second = family_of(one), family_of(two)
    assert first.task == second.task
    assert first.version < second.version or "Hierarchical" in two


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("clustering/ArxivClusteringP2P", "clustering/ArxivClusteringS2S"),
        ("clustering/StackExchangeClustering.v2", "clustering/StackExchangeClusteringP2P.v2"),
        ("clustering/BBCNews-S2S", "clustering/BBCNews-P2P"),
        ("retrieval/CQADupstackUnixRetrieval", "retrieval/CQADupstackGamingRetrieval"),
    ],
)
def test_tasks_of_the_same_texts(one: str, two: str) -> None:
    assert family_of(one).task != family_of(two).task
    assert family_of(one).source == family_of(two).source


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("sts/STS12", "sts/STS13"),
        ("clustering/BiorxivClusteringP2P", "clustering/MedrxivClusteringP2P"),
        ("retrieval/NQ", "reranking/NQ"),
        ("retrieval/SciFact", "retrieval/SCIDOCS"),
    ],
)
def test_other_tasks_are_independent(one: str, two: str) -> None:
    assert family_of(one).source != family_of(two).source
