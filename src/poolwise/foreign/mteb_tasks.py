"""The tasks of MTEB's two English benchmarks: category, main metric, evaluation split and English subset.

Copied from mteb's task metadata. mteb itself is not used here, because importing it imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from poolwise.records import METRICS, Category

KNOWN: dict[Category | None, str] = {
    "sts": """
        BIOSSES SICK-R STS12 STS13 STS14 STS15 STS16 STS17 STS22 STS22.v2 STSBenchmark
    """,
    "retrieval": """
        ArguAna CQADupstackAndroidRetrieval CQADupstackEnglishRetrieval CQADupstackGamingRetrieval
        CQADupstackGisRetrieval CQADupstackMathematicaRetrieval CQADupstackPhysicsRetrieval
        CQADupstackProgrammersRetrieval CQADupstackRetrieval CQADupstackStatsRetrieval CQADupstackTexRetrieval
        CQADupstackUnixRetrieval CQADupstackWebmastersRetrieval CQADupstackWordpressRetrieval ClimateFEVER
        ClimateFEVERHardNegatives DBPedia FEVER FEVERHardNegatives FiQA2018 HotpotQA HotpotQAHardNegatives MSMARCO
        NFCorpus NQ QuoraRetrieval SCIDOCS SciFact TRECCOVID Touche2020 Touche2020Retrieval.v3
    """,
    "reranking": """
        AskUbuntuDupQuestions MindSmallReranking SciDocsRR StackOverflowDupQuestions
    """,
    "classification": """
        AmazonCounterfactualClassification AmazonPolarityClassification AmazonReviewsClassification
        Banking77Classification EmotionClassification ImdbClassification MTOPDomainClassification
        MTOPIntentClassification MassiveIntentClassification MassiveScenarioClassification
        ToxicConversationsClassification TweetSentimentExtractionClassification
    """,
    "clustering": """
        ArXivHierarchicalClusteringP2P ArXivHierarchicalClusteringS2S ArxivClusteringP2P ArxivClusteringS2S
        BiorxivClusteringP2P BiorxivClusteringP2P.v2 BiorxivClusteringS2S MedrxivClusteringP2P
        MedrxivClusteringP2P.v2 MedrxivClusteringS2S MedrxivClusteringS2S.v2 RedditClustering RedditClusteringP2P
        StackExchangeClustering StackExchangeClustering.v2 StackExchangeClusteringP2P StackExchangeClusteringP2P.v2
        TwentyNewsgroupsClustering TwentyNewsgroupsClustering.v2
    """,
    "pair_classification": """
        SprintDuplicateQuestions TwitterSemEval2015 TwitterURLCorpus
    """,
    None: """
        SummEval SummEvalSummarization.v2
    """,
}
SPLITS = {"MSMARCO": "dev"}
SUBSETS = {
    "AmazonCounterfactualClassification": "en",
    "AmazonReviewsClassification": "en",
    "MTOPDomainClassification": "en",
    "MTOPIntentClassification": "en",
    "MassiveIntentClassification": "en",
    "MassiveScenarioClassification": "en",
    "STS17": "en-en",
    "STS22": "en",
    "STS22.v2": "en",
}
MAX_AP = "max_ap"
"""MTEB's main metric of pair classification: the best average precision over several similarities."""
FORUMS = "CQADupstackRetrieval"
P_MRR = "p-MRR"
"""MTEB's main score of retrieval with instructions: how far a ranking follows an instruction, from -1 to 1."""
P_MRR_TASKS = (
    "Core17InstructionRetrieval",
    "News21InstructionRetrieval",
    "Robust04InstructionRetrieval",
    "mFollowIR",
    "mFollowIRCrossLingual",
)
"""Copied from mteb's task metadata (main_score)."""


@dataclass(frozen=True)
class MtebTask:
    """What MTEB reports for one task; ``category`` is None for a type of task that poolwise does not have.

    Its score is the mean over all ``splits`` and ``subsets``, or over the scores of its ``parts``. ``kind`` is MTEB's
    type of task, empty if it is not known.
    """

    name: str
    category: Category | None
    metric: str
    splits: tuple[str, ...]
    subsets: tuple[str, ...]
    kind: str = ""
    parts: tuple[str, ...] = ()


def known_task(name: str) -> MtebTask | None:
    """Return the description of a task of the English benchmarks, or None for other tasks."""
    return _TASKS.get(name)


def is_forum(name: str) -> bool:
    """Return whether a task is one of the twelve forums whose mean is MTEB's CQADupstackRetrieval."""
    return name.startswith("CQADupstack") and name.endswith("Retrieval") and name != FORUMS and name in _TASKS


def forums() -> list[str]:
    """Return the names of the twelve forums."""
    return [name for name in _TASKS if is_forum(name)]


def guess_category(name: str, metrics: Mapping[str, object]) -> Category | None:
    """Return the category that a task's metrics suggest, or None if they suggest none."""
    if "summ" in name.lower():
        return None
    if name.endswith(("Reranking", "RR")):
        return "reranking"
    signs: dict[str, Category] = {
        "v_measure": "clustering",
        "max_ap": "pair_classification",
        "cosine_ap": "pair_classification",
        "cosine_spearman": "sts",
        "ndcg_at_10": "retrieval",
        "map": "reranking",
    }
    if found := next((category for sign, category in signs.items() if sign in metrics), None):
        return found
    # Bitext mining also has an accuracy, but F1 is its main score.
    is_accuracy = "accuracy" in metrics and metrics.get("main_score", metrics["accuracy"]) == metrics["accuracy"]
    return "classification" if is_accuracy else None


def main_metric(category: Category) -> str:
    """Return the name of MTEB's main metric of a category."""
    return MAX_AP if category == "pair_classification" else METRICS[category]


def _described() -> dict[str, MtebTask]:
    return {
        name: MtebTask(
            name,
            category,
            main_metric(category) if category else "",
            (SPLITS.get(name, "test"),),
            (SUBSETS.get(name, "default"),),
        )
        for category, names in KNOWN.items()
        for name in names.split()
    }


_TASKS = _described()
