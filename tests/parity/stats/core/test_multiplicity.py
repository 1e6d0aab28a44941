"""Corrections against statsmodels."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from poolwise.stats.core.multiplicity import benjamini_hochberg, benjamini_yekutieli, tarone_holm

Correction = Callable[[Sequence[float]], list[float]]


def holm(p_values: Sequence[float]) -> list[float]:
    return tarone_holm(p_values, [0.0] * len(p_values))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh"), (benjamini_yekutieli, "fdr_by")]
)
@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_equals_statsmodels(ours: Correction, theirs: str, count: int) -> None:
    # Rounding makes ties among the p-values.
    p_values = np.random.default_rng(count).uniform(size=count).round(2).clip(0.01)
    assert ours(list(p_values)) == pytest.approx(multipletests(p_values, method=theirs)[1])
