"""The files that a saved model consists of on a hub: its own, a card for its new name, and its base if asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poolwise.cards import CARD, FACTS, CardFacts, card_files, edited_card, load_facts
from poolwise.errors import ConfigError, ModelError
from poolwise.hub import is_hub_id
from poolwise.models.backbone_files import read_config
from poolwise.models.load import load_model
from poolwise.models.saved_base import base_files, find_base, included_record, without_places
from poolwise.models.saved_folder import CONFIG, INCLUDED_BASE, is_model_part, is_poolwise_model, no_model
from poolwise.records import require_finished
from poolwise.storage.fingerprints import SUMS


@dataclass(frozen=True)
class Bundle:
    """Everything that is sent, by path in the repository: a file on disk, or the bytes themselves.

    Args:
        config: the content of ``poolwise.json`` as it is sent.
        notes: what a publisher should know before others load it.
    """

    repository: str
    files: dict[str, Path | bytes]
    config: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every file in bytes."""
        return {
            name: len(found) if isinstance(found, bytes) else found.stat().st_size
            for name, found in sorted(self.files.items())
        }

    @property
    def card(self) -> str:
        """The model card."""
        found = self.files[CARD]
        return found.decode() if isinstance(found, bytes) else found.read_text(encoding="utf-8")


def build_bundle(model: str | Path, repository: str, *, include_base: bool = False) -> Bundle:
    """Return what a saved model would send to ``repository``. Nothing is sent, and the model's folder is not changed.

    Paths of this machine are left out of the configuration. The card is written for the new name; a README.md that was
    edited by hand is sent as it is.

    Args:
        model: the folder of a model, or of its run.
        repository: ``org/name``.
        include_base: send the base's files too.
    Raises: ConfigError for a name that is not ``org/name``; ModelError where there is no model, or its base is asked
        for and missing or changed.
    """
    if not is_hub_id(repository) or "@" in repository:
        raise ConfigError(f"{repository!r} is not the name of a repository", "wanted org/name")
    folder = _folder_of(Path(model).expanduser())
    config = read_config(folder / CONFIG, {"base", "method"})
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path
        for part in sorted(folder.iterdir())
        if is_model_part(part.name) and part.name != SUMS  # some files are sent otherwise than they are here
        for path in ([part] if part.is_file() else sorted(part.rglob("*")))
        if path.is_file()
    }
    sent = without_places(config)
    adds = include_base and config["method"] != "full" and not config.get("base_included")
    if adds:
        base = find_base(config, folder)
        files |= base_files(base)
        sent |= included_record(base)
    files[CONFIG] = json.dumps(sent, indent=2, sort_keys=True).encode()
    files |= _card(folder, repository, includes=bool(sent.get("base_included")))
    if not sent.get("base_included"):
        files = {name: found for name, found in files.items() if not name.startswith(f"{INCLUDED_BASE}/")}
    return Bundle(repository, files, sent, tuple(_notes(sent)))


def _folder_of(path: Path) -> Path:
    require_finished(path)
    found = next((folder for folder in (path / "model", path) if is_poolwise_model(folder)), None)
    if found is None:
        raise no_model(path)
    return found


def _card(folder: Path, repository: str, *, includes: bool) -> dict[str, bytes]:
    facts = load_facts(folder / FACTS) or _measured_facts(folder)
    base = facts.model.base.model_copy(update={"included": includes})
    model = facts.model.model_copy(update={"base": base})
    named = facts.model_copy(update={"name": repository, "model": model})
    return {name: text.encode() for name, text in card_files(named, edited_card(folder)).items()}


def _measured_facts(folder: Path) -> CardFacts:
    """Return the facts of a model that was saved without a card, or by an older version."""
    return load_model(folder).card_facts(folder.name, folder, included=False)


def _notes(config: dict[str, Any]) -> list[str]:
    name = str(config["base"])
    can_be_fetched = name.startswith("poolwise/") or is_hub_id(name.partition(":")[0])
    if config["method"] == "full" or config.get("base_included") or can_be_fetched:
        return []
    return [
        f"the base {name} is a folder or file of this machine: others cannot load the model without it; "
        "--include-base sends it too"
    ]


def require_model(bundle: Bundle) -> None:
    """Raise ModelError where a bundle lacks what loading needs."""
    if missing := [name for name in (CONFIG, "modules.json") if name not in bundle.files]:
        raise ModelError(f"the model lacks {', '.join(missing)}", "wanted what poolwise saves", "save the model again")
