"""``export_model``: write a model for a target, check it in a fresh process, and keep it only if it gives the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poolwise.errors import ModelError
from poolwise.export.check import Checked, check_export, require_equal
from poolwise.export.golden import make_golden, save_golden
from poolwise.export.readme import write_readme
from poolwise.export.targets import load_target, require_options, tolerance
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.load import load_model
from poolwise.storage.checksums import save_checksums
from poolwise.storage.new_folders import require_new_folder
from poolwise.storage.whole_files import whole_folder


def export_model(
    model: EmbeddingModel | str | Path,
    target: str,
    out: str | Path,
    *,
    options: Mapping[str, object] | None = None,
    device: str | None = None,
) -> Checked:
    """Write a model into a new folder in the format of other programs, and return how far it is from poolwise.

    The folder is written under another name, loaded in a fresh process without poolwise, and renamed only if its
    embeddings of a probe set equal poolwise's up to the target's tolerance. Nothing is left where that fails.

    Args:
        model: a folder, a run's folder, a hub id, or a loaded model. It is computed in fp32.
        target: ``sentence-transformers``, ``merged``, ``onnx`` or ``gguf``.
        out: a folder that does not exist or is empty.
        options: options of the target, such as ``int8`` of ``onnx``.
        device: where poolwise computes; None takes a GPU if there is one.
    Raises: ConfigError for an unknown target or option, or an ``out`` with files in it; ModelError for a model that
        cannot be loaded, that the target cannot express, or whose export differs.

    Example:

        >>> import poolwise
        >>> model = poolwise.build_model("mean+causal", "poolwise/nano")
        >>> poolwise.export_model(model, "merged", "my-merged-model").worst < 1e-5
        True
    """
    given, folder = dict(options or {}), Path(out).expanduser().resolve()
    module = load_target(target)
    require_options(target, module, given)
    require_new_folder(folder)
    loaded = load_model(model, precision="fp32", device=device) if isinstance(model, str | Path) else model
    if reason := module.refusal(loaded):
        raise ModelError(f"{loaded[0].design} cannot be exported to {target}: {reason}")
    with whole_folder(folder) as partial:
        notes = module.write(loaded, partial, options=given)
        save_golden(make_golden(loaded, target, tolerance(module, partial)), partial)
        checked = check_export(partial)
        require_equal(checked, f"the export to {target}", "nothing was written; see the Limits of this target")
        write_readme(partial, loaded, module, checked, notes)
        save_checksums(partial)
    return checked
