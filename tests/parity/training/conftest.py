"""One tiny llama for all training tests."""

import pytest

from tiny_models import save_tiny_base


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return save_tiny_base(tmp_path_factory.mktemp("base") / "llama", "llama")
