"""What the audit of the dependencies says: nothing found is not the same as nothing asked."""

from __future__ import annotations

import pytest

from support import load_script

audit = load_script("audit")
CLEAN = {"name": "a", "version": "1", "vulns": []}
SKIPPED = {"name": "b", "skip_reason": "Dependency not found on PyPI"}
BAD = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}, {"id": "GHSA-2"}]}


@pytest.mark.parametrize(
    ("found", "reason", "code", "words"),
    [
        ([CLEAN, SKIPPED], "", 0, "1 of 2 locked packages were audited; none has a known vulnerability"),
        ([CLEAN, BAD], "", 1, "1 have known vulnerabilities:\n  c 2: PYSEC-1, GHSA-2"),
        ([SKIPPED, SKIPPED], "", 3, "not audited: the advisory service knows none of the 2 packages"),
        ([], "no answer in 90 s", 3, "not audited: no answer in 90 s"),
    ],
)
def test_codes_and_words(found, reason, code, words) -> None:
    told = audit.judge(found, reason)
    assert told[0] == code and words in told[1]
