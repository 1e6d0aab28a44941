"""Team-draft interleaving: distinct documents, fair teams, and credit for clicks."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from poolwise.experiments.interleave import interleave, preference

RANKING = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=8)


@given(RANKING, RANKING, st.integers(0, 12), st.text(max_size=4))
def test_laws_of_the_list(first: list[str], second: list[str], length: int, seed: str) -> None:
    found = interleave({"A": first, "B": second}, length, seed)
    documents = [document for document, _ in found]
    assert len(set(documents)) == len(documents) == min(length, len({*first, *second}))
    assert found == interleave({"B": second, "A": first}, length, seed)
    # The highest document of either ranking is first.
    assert not documents or documents[0] in {*first[:1], *second[:1]}
    own = {"A": first, "B": second}
    assert all(document in own[arm] for document, arm in found)


def test_the_coin_is_fair_and_teams_are_of_one_size() -> None:
    lists = [interleave({"A": list("abcd"), "B": list("wxyz")}, 4, str(seed)) for seed in range(2000)]
    assert all(Counter(arm for _, arm in found) == {"A": 2, "B": 2} for found in lists)
    assert 0.46 < sum(found[0][1] == "A" for found in lists) / 2000 < 0.54


def test_a_round_takes_one_document_of_each() -> None:
    assert interleave({"A": ["a", "b"], "B": ["a", "c"]}, 3, "x") in (
        [("a", "A"), ("c", "B"), ("b", "A")],
        [("a", "B"), ("b", "A"), ("c", "B")],
    )


def test_the_arm_with_more_clicked_documents_is_preferred() -> None:
    teams = {"a": "A", "b": "B", "c": "B"}
    assert preference(teams, ["a"], "A") == -1
    assert preference(teams, ["a", "b"], "A") == 0
    assert preference(teams, ["a", "b", "c", "a", "a"], "A") == 1
    assert preference(teams, ["unknown"], "A") == 0
    assert preference(teams, [], "A") == 0
