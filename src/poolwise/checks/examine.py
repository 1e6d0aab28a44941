"""Examines a model or a base by its name, and writes a corrected copy if one is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from poolwise.checks.as_base import diagnose_base
from poolwise.checks.check import Check, Diagnosis
from poolwise.checks.diagnose import OnProgress, diagnose
from poolwise.checks.fix import fix_model
from poolwise.checks.lookup import check_code, find, load_found
from poolwise.checks.subject import Subject
from poolwise.errors import ModelError, NotFiniteError
from poolwise.kernels.devices import require_device
from poolwise.storage.new_folders import require_new_folder


def examine(
    name: str,
    *,
    device: str | None = None,
    fix: Path | None = None,
    is_trusted: bool = False,
    on_progress: OnProgress = lambda done, total, detail: None,
) -> Diagnosis:
    """Return the checks of a model or a base.

    Args:
        name: a folder, a run's folder, a hub id, or the name of a base.
        device: where it computes; None takes a GPU if there is one.
        fix: a new or empty folder for a corrected copy.
        is_trusted: whether Python code that comes with the model may be run.
        on_progress: called with the steps done, the total steps, and what is measured now.
    Raises: ModelError if there is no model, it cannot be loaded or needs code that is not trusted, or no setting fixes
        what is wrong with it; ConfigError if ``fix`` is not empty, or for a device that this machine lacks.
    """
    require_device(device)
    if fix is not None:
        require_new_folder(fix)
    found = find(name)
    if found.kind == "base":
        if fix is not None:
            raise ModelError(f"{name} is a base", "wanted an embedding model to correct", "leave --fix out")
        if found.needs_code:
            check_code(found, is_trusted=False)  # raises: a base's own code is never run
        return diagnose_base(name, device, on_progress, [check_code(found, is_trusted=False)])
    code = check_code(found, is_trusted)
    try:
        model = load_found(found, device, is_trusted)
    except NotFiniteError as error:
        if fix is not None:
            raise
        failed = Check("finite values", "fail", error.got, "finite weights", error.hint)
        return Diagnosis("embedding model", (code, failed))
    diagnosis = diagnose(model, found.folder, on_progress, [code])
    if fix is None:
        return diagnosis
    return replace(diagnosis, fix=fix_model(found, Subject(model, found.folder), diagnosis, fix, device, on_progress))
