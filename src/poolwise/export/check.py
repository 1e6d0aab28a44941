"""The check of an export: a fresh process without poolwise and without a network must return its golden vectors."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from poolwise.errors import ModelError
from poolwise.export.code import require_own_code
from poolwise.export.golden import Golden, GoldenVectors, ProbeText, load_golden, save_texts, unit
from poolwise.export.targets import load_target

_START = """
import runpy, sys
sys.modules["poolwise"] = None  # an import of poolwise fails from here on
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Difference:
    """How far the vector of one text is from the golden one: the largest absolute difference of unit vectors."""

    probe: ProbeText
    amount: float

    @property
    def words(self) -> str:
        """The text and the difference, in words."""
        prompt = f" with prompt {self.probe.prompt_name!r}" if self.probe.prompt_name else ""
        return f"{self.probe.label}{prompt}: {self.amount:.1e}"


@dataclass(frozen=True)
class Checked:
    """The result of a check: a difference per text, in the order of the probe set."""

    golden: Golden
    differences: list[Difference]

    @property
    def worst(self) -> float:
        """The largest difference; infinite where a vector is not a number."""
        return max(difference.amount for difference in self.differences)

    @property
    def failed(self) -> list[Difference]:
        """The texts beyond the tolerance, the worst first."""
        beyond = [difference for difference in self.differences if difference.amount > self.golden.tolerance]
        return sorted(beyond, key=lambda difference: -difference.amount)

    @property
    def facts(self) -> dict[str, Any]:
        """The result as JSON: the target, the design, and the difference of each text."""
        rows = [
            {"label": row.probe.label, "prompt_name": row.probe.prompt_name, "difference": row.amount}
            for row in self.differences
        ]
        found = {"target": self.golden.target, "design": self.golden.design, "largest_difference": self.worst}
        return {**found, "tolerance": self.golden.tolerance, "texts": rows}

    @property
    def words(self) -> str:
        """The result in one line."""
        return (
            f"{self.golden.design} as {self.golden.target}: {len(self.differences)} texts differ by at most "
            f"{self.worst:.1e} ({self.golden.tolerance:.0e} is allowed)"
        )


def run_export(folder: Path, runner: Path, texts: list[ProbeText]) -> Float[np.ndarray, "N D"]:
    """Return the embeddings that an export gives in a fresh process, which can import no poolwise and reach no hub.

    Raises: ModelError with the last line of its error where the process fails, or gives something else than vectors.
    """
    with tempfile.TemporaryDirectory() as place:
        asked, given = Path(place) / "texts.json", Path(place) / "vectors.npy"
        save_texts(texts, asked)
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # Code that comes with an export is copied there to be run; the user's own cache is left alone.
        offline["HF_MODULES_CACHE"] = str(Path(place) / "modules")
        done = subprocess.run(
            [sys.executable, "-P", "-c", _START, str(runner), str(folder.resolve()), str(asked), str(given)],
            capture_output=True,
            text=True,
            env={**os.environ, **offline},
            cwd=place,
            check=False,
        )
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise ModelError(
                f"{folder} cannot be loaded without poolwise: {lines[-1] if lines else f'exit code {done.returncode}'}",
                f"wanted {len(texts)} embeddings from {runner.name}",
                "install what the README.md of the export names",
            )
        found = np.load(given, allow_pickle=False)
    if found.ndim != 2 or len(found) != len(texts):
        raise ModelError(f"{folder} gave an array of shape {found.shape}", f"wanted {len(texts)} vectors")
    return found


def check_export(folder: Path) -> Checked:
    """Return how far an export is from its golden vectors, in a fresh process.

    Raises: ModelError where it has no golden vectors, would run code that is not poolwise's own, or cannot be loaded.
    """
    golden = load_golden(folder)
    require_own_code(folder)
    found = run_export(folder, Path(load_target(golden.record.target).RUNNER), golden.record.texts)
    return compare(golden, found, folder)


def compare(golden: GoldenVectors, found: Float[np.ndarray, "N D"], folder: Path) -> Checked:
    """Return how far the embeddings of an export, of any length, are from its golden vectors.

    Raises: ModelError where they have another width.
    """
    record, wanted = golden.record, golden.vectors
    if found.shape != wanted.shape:
        raise ModelError(f"{folder} gave embeddings of width {found.shape[1]}", f"wanted width {wanted.shape[1]}")
    amounts = np.abs(unit(found.astype(np.float32)) - wanted).max(axis=1)
    amounts = np.where(np.isfinite(amounts), amounts, np.inf).tolist()
    return Checked(record, [Difference(text, amount) for text, amount in zip(record.texts, amounts, strict=True)])


def require_equal(checked: Checked, name: str, hint: str) -> None:
    """Raise ModelError, with the texts that differ, where an export is beyond its tolerance."""
    if not (failed := checked.failed):
        return
    rest = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    raise ModelError(
        f"{name} differs from poolwise in {len(failed)} of {len(checked.differences)} texts: "
        + ", ".join(difference.words for difference in failed[:3])
        + rest,
        f"wanted at most {checked.golden.tolerance:.1e}",
        hint,
    )


def verify_export(folder: str | Path) -> Checked:
    """Repeat the check of an export, on any machine, and return the differences.

    Raises: ModelError as ``check_export``, and with the texts that differ where it is beyond its tolerance.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+bidirectional", "poolwise/nano")
        >>> checked = poolwise.export_model(model, "sentence-transformers", "my-export")
        >>> checked.worst == poolwise.verify_export("my-export").worst
        True
    """
    path = Path(folder).expanduser()
    checked = check_export(path)
    require_equal(checked, str(path), "compare the versions in its README.md with the installed ones")
    return checked
