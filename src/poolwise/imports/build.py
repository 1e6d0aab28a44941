"""``import_model``: a model that others published becomes a saved poolwise model, with the same embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sentence_transformers.base.modules import Normalize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from poolwise.checks import diagnose
from poolwise.design import Design, parse_design
from poolwise.errors import ConfigError, ModelError, nearest
from poolwise.hub import is_hub_id, local_folder, snapshot
from poolwise.imports import layouts, llm2vec, paper
from poolwise.imports.adapters import put_on, read_lora, read_tensors
from poolwise.imports.layouts import Format
from poolwise.models.backbone import Backbone, Method
from poolwise.models.bases import load_base, pinned_base
from poolwise.models.embedding_model import EmbeddingModel
from poolwise.models.merge import merge_adapters
from poolwise.models.pooling import Pooling, build_pooling
from poolwise.storage.new_folders import require_new_folder
from poolwise.storage.whole_files import whole_folder, write_text
from poolwise.upstream.peft import forget_adapter

RECORD = "imported.json"
PAPER_TOKENS, GRITLM_TOKENS = 512, 512
"""The lengths at which their own code evaluates."""
GRITLM_PROMPT = "<|embed|>\n"
_FILES = ["*.json", "*.safetensors", "*.bin", "*.pt", "*.txt", "*.model", "*.jinja"]
_SAMPLE = "A dog."


@dataclass(frozen=True)
class Imported:
    """What an import made, as its record says.

    Args:
        code_not_run: what the folders would run in other libraries.
        ids: the ids of a sample text, from the first to the last.
        probe: whether token 0 moved, by the probe's checks.
        checks: those of ``poolwise doctor``: name, status and what was found.
    """

    format: str
    folders: list[str]
    base: str
    design: str
    max_tokens: int
    notes: list[str]
    code_not_run: list[str]
    ids: list[int]
    tokens: list[str]
    probe: dict[str, bool]
    checks: list[dict[str, str]]


@dataclass(frozen=True)
class _Parts:
    """The parts of a model before it is put together."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pooling: Pooling
    design: Design
    base: str
    method: Method
    max_tokens: int
    ending: Sequence[int] | None = None
    prompt: str = ""
    notes: list[str] = field(default_factory=list)


def import_model(
    folders: Sequence[str],
    out: Path,
    *,
    layout: str = "auto",
    design: str | None = None,
    base: str | None = None,
    max_tokens: int | None = None,
) -> Imported:
    """Save a model that others published as a poolwise model, and return its record, which is saved with it.

    Only weights and settings are read; code in the folders is never run. What cannot be mapped exactly is refused.

    Args:
        folders: its folders or hub ids; several are adapters in the order in which they were trained.
        out: where the model is saved; a new or empty folder.
        layout: one of ``FORMATS``, or "auto" to detect it.
        design: of the paper's models: their files do not say it.
        base: the model that adapters were trained on; None takes the one they name.
        max_tokens: texts are truncated to this many tokens; None is what the model's own code does.
    Raises: ConfigError for an ``out`` that is not empty or a missing design; ModelError for what cannot be read or
        mapped.
    """
    require_new_folder(out)
    places = [_place(name) for name in folders]
    found = layouts.detect(places) if layout == "auto" else _known(layout)
    if design is not None and found != "paper":
        raise ConfigError(f"--design {design} with a model of {found}", "wanted none: its design is known")
    if found == "nv-embed":
        layouts.refuse_nv_embed(places[-1])
    if found == "paper":
        parts = _paper(places, design, base, max_tokens)
    elif found == "llm2vec":
        parts = _llm2vec(places, base, max_tokens)
    else:
        parts = _gritlm(folders, base, max_tokens)
    model = _assembled(parts)
    record = _record(model, parts, found, folders, [line for place in places for line in layouts.custom_code(place)])
    with whole_folder(out) as partial:
        model.save(str(partial))
        write_text(partial / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False))
    return record


def _known(layout: str) -> Format:
    for known in layouts.FORMATS:
        if known == layout:
            return known
    raise ConfigError(f"no format {layout!r}", nearest(layout, [*layouts.FORMATS, "auto"]))


def _place(name: str) -> Path:
    if (folder := local_folder(name, "a published model")) is not None:
        return folder
    try:
        return snapshot(name, _FILES)
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"cannot fetch {name}: {reason}", "wanted a folder or hub id", "without a network, fetch it elsewhere"
        ) from error


def _assembled(parts: _Parts) -> EmbeddingModel:
    """Return the model; its attention is verified while it is put together."""
    backbone = Backbone(
        parts.model,
        parts.tokenizer,
        design=parts.design,
        base=parts.base,
        method=parts.method,
        max_tokens=parts.max_tokens,
        ending=parts.ending,
    )
    prompts = {"query": parts.prompt, "document": parts.prompt} if parts.prompt else None
    return EmbeddingModel(
        modules=[backbone, parts.pooling, Normalize()],
        prompts=prompts,
        default_prompt_name="document" if prompts else None,
    ).eval()


def _record(
    model: EmbeddingModel, parts: _Parts, layout: Format, folders: Sequence[str], code: Sequence[str]
) -> Imported:
    backbone = model[0]
    assert isinstance(backbone, Backbone) and backbone.probe is not None
    rows, _ = backbone.tokens.encode([_SAMPLE], parts.prompt, parts.max_tokens)
    return Imported(
        format=layout,
        folders=list(folders),
        base=parts.base,
        design=str(parts.design),
        max_tokens=parts.max_tokens,
        notes=[*parts.notes, *backbone.notes],
        code_not_run=list(code),
        ids=rows[0],
        tokens=[str(token) for token in parts.tokenizer.convert_ids_to_tokens(rows[0])],
        probe=backbone.probe.facts,
        checks=[{"name": c.name, "status": c.status, "found": c.found} for c in diagnose(model)],
    )


def _paper(places: Sequence[Path], design: str | None, base: str | None, max_tokens: int | None) -> _Parts:
    if design is None or len(places) != 1:
        raise ConfigError(
            f"the paper's models need a design, and have {len(places)} folder(s)",
            "wanted one folder, and --design paper:1 to paper:5: the files do not say which it is",
        )
    wanted = parse_design(design)
    has_head, file = paper.has_head(wanted), layouts.find_head(places[0])
    if has_head != (file is not None):
        raise ModelError(
            f"{places[0]} has {f'the head {file.name}' if file else f'no {layouts.HEAD}, inside or beside it'}",
            f"wanted {'one' if has_head else 'none'} for {design}",
            "give the design that the folder was trained with",
        )
    lora = read_lora(places[0])
    name = _base_of(base, lora.base, places[0])
    model, tokenizer = load_base(name)
    put_on(model, lora, name)
    dim, num_layers = int(model.config.hidden_size), int(model.config.num_hidden_layers)
    notes: list[str] = []
    if file is None:
        pooling = build_pooling(wanted, dim, num_layers)
    else:
        weights = read_tensors(file)
        wanted = paper.sized(wanted, weights)
        pooling, notes = paper.build_head(wanted, weights, dim, num_layers)
    ending = None
    if model.config.model_type not in ("llama", "mistral"):
        # The option that the paper's code relies on exists in Llama's tokenizer alone.
        ending = llm2vec.wrapper_ids(tokenizer, "")
        notes.append("texts end without EOS, because the paper's code adds none with this tokenizer")
    return _Parts(
        model, tokenizer, pooling, wanted, pinned_base(name), "lora", max_tokens or PAPER_TOKENS, ending, notes=notes
    )


def _llm2vec(places: Sequence[Path], base: str | None, max_tokens: int | None) -> _Parts:
    settings = llm2vec.read_llm2vec(places)
    design = settings.design()
    is_whole = not (places[0] / layouts.ADAPTER).is_file()  # weights with the adapters already merged
    loras = llm2vec.adapters_in_order(places[1:] if is_whole else places) if not is_whole or places[1:] else []
    name = str(places[0]) if is_whole and base is None else _base_of(base, loras[0].base if loras else "", places[0])
    model, tokenizer = load_base(name)
    for lora in loras:
        put_on(model, lora, name)
        _merge(model)
    trained_on = next((lora.base for lora in loras if lora.base in llm2vec.WRAPPERS), name)
    before, after = llm2vec.WRAPPERS.get(trained_on, ("", ""))
    ending = llm2vec.wrapper_ids(tokenizer, after)
    most = min(settings.max_length, settings.doc_max_length + len(ending) + 1)
    notes = [f"texts of more than {settings.doc_max_length} tokens are cut at a token; LLM2Vec cuts them at a word"]
    if len(loras) == 1:
        notes.append("one adapter was merged; if it was trained on top of another (MNTP), give both, that one first")
    pooling = build_pooling(design, int(model.config.hidden_size), int(model.config.num_hidden_layers))
    return _Parts(
        *(model, tokenizer, pooling, design, pinned_base(name), "full", max_tokens or most),
        ending=ending,
        prompt=before,
        notes=notes,
    )


def _gritlm(folders: Sequence[str], base: str | None, max_tokens: int | None) -> _Parts:
    if base is not None or len(folders) != 1:
        raise ConfigError("a GritLM model is one folder with all its weights", "wanted one folder, and no --base")
    design = Design("mean", "bidirectional", (("prompt", "skip"),))
    model, tokenizer = load_base(folders[0])
    model.requires_grad_(False)
    pooling = build_pooling(design, int(model.config.hidden_size), int(model.config.num_hidden_layers))
    return _Parts(
        *(model, tokenizer, pooling, design, pinned_base(folders[0]), "frozen", max_tokens or GRITLM_TOKENS),
        ending=llm2vec.wrapper_ids(tokenizer, ""),
        prompt=GRITLM_PROMPT,
        notes=["with an instruction, the prompt is '<|user|>\\nINSTRUCTION\\n<|embed|>\\n'"],
    )


def _merge(model: PreTrainedModel) -> None:
    """Merge the adapter into the weights, so that the next one is put on plain layers and the model can be saved."""
    merge_adapters(model)
    forget_adapter(model)


def _base_of(given: str | None, named: str, folder: Path) -> str:
    """Return the base of an adapter. Raises: ModelError if none is given or named, or the named one is not here."""
    if given is not None:
        return given
    if not named:
        raise ModelError(f"the adapter in {folder} names no base", "wanted the model it was trained on", "add --base")
    if not Path(named).expanduser().is_dir() and not is_hub_id(named):
        raise ModelError(
            f"the adapter in {folder} was trained on {named!r}, which is not here", "wanted that model", "add --base"
        )
    return named


def checks_text(record: Imported) -> list[str]:
    """Return the lines that say what was imported and how it behaves."""
    ends = f"first id {record.ids[0]} ({record.tokens[0]}), last id {record.ids[-1]} ({record.tokens[-1]})"
    return [
        f"design: {record.design}, on {record.base}, at most {record.max_tokens} tokens",
        *(f"{check['status']:4}  {check['name']}: {check['found']}" for check in record.checks),
        f"tokens of {_SAMPLE!r}: {' '.join(record.tokens)}; {ends}",
        *(f"note: {note}" for note in record.notes),
        *([f"code in the folder that was not run: {', '.join(record.code_not_run)}"] if record.code_not_run else []),
    ]
