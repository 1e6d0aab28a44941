"""Batches of equal work."""

from poolwise.kernels.batches import plan_batches


def test_texts_of_like_length_within_the_budget():
    assert plan_batches([3, 9, 3, 4], budget=10) == [[1], [3, 0], [2]]


def test_a_text_beyond_the_budget_is_a_batch_of_its_own():
    assert plan_batches([30, 2, 2], budget=10) == [[0], [1, 2]]


def test_no_more_texts_than_asked_for():
    assert plan_batches([1] * 5, budget=100, most_texts=2) == [[0, 1], [2, 3], [4]]


def test_no_texts_no_batches():
    assert plan_batches([], budget=10) == []


def test_every_row_once_and_padded_batches_stay_within_the_budget():
    lengths = [(7 * i) % 40 + 1 for i in range(200)]
    batches = plan_batches(lengths, budget=64)
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert all(len(batch) * max(lengths[row] for row in batch) <= 64 for batch in batches)


def test_most_tokens_first():
    # By length alone the nine would come second, and one lane would read nine and ten while another reads six.
    assert plan_batches([9, 5, 5, 2, 2, 2], budget=10) == [[1, 2], [0], [3, 4, 5]]


def test_packed_batches_are_filled_with_tokens():
    lengths = [(7 * i) % 40 + 1 for i in range(200)]
    batches = plan_batches(lengths, budget=64, is_packed=True)
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert all(sum(lengths[row] for row in batch) <= 64 for batch in batches)
    assert len(batches) < len(plan_batches(lengths, budget=64))
    # Many short texts with a long one would be mostly padding when states are unpacked.
    assert plan_batches([10, *[1] * 20], budget=15, is_packed=True) == [[*range(3, 18)], [0, 1, 2], [18, 19, 20]]
