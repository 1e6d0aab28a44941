"""The error of a rank whose partner was killed is one line, and only there."""

import pytest

from poolwise import ranks
from poolwise.errors import ModelError


@pytest.mark.parametrize(
    "text",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:51234",
        "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?",
    ],
)
def test_a_lost_partner_is_told_from_other_errors(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.lost_partner(RuntimeError(text)) is None  # this process trains alone
    monkeypatch.setattr(ranks, "_ranks", ranks.Ranks(rank=0, size=2))
    found = ranks.lost_partner(RuntimeError(text))
    assert isinstance(found, ModelError) and "another process of this training has ended" in str(found)
    assert ranks.lost_partner(RuntimeError("shapes do not match")) is None
    assert ranks.lost_partner(ValueError(text)) is None
