"""The model card as text: front matter for the hub, then what a user needs to know, from the facts alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

import yaml

from poolwise.attentions import parse_attention
from poolwise.cards.facts import CardFacts, CategoryScore, ModelFacts, StudyFacts, TrainingFacts
from poolwise.cards.licences import HUB_LICENCES
from poolwise.design import POOLINGS, Design, parse_design

NOT_KNOWN = "not known"
_MINUS = "\u2212"
_RELATIONS = {"lora": "adapter", "full": "finetune", "frozen": "finetune"}
_METHODS = {
    "lora": "a LoRA adapter on all linear layers and the pooling's own weights; the base is frozen",
    "frozen": "the pooling's own weights; the base is frozen",
    "full": "all weights of the base and the pooling's own",
}


def card_text(facts: CardFacts) -> str:
    """Return the README.md of a saved model. What is not known is said to be not known."""
    sections = [
        ("Load it", _loading(facts)),
        ("Design", _design(facts.model)),
        ("Scores", _scores(facts.study)),
        ("Training", _training(facts.model, facts.training)),
        ("Cost", _cost(facts)),
        ("Limits", _limits(facts)),
        ("Licence", _licence(facts)),
        ("Made with", _made_with(facts)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections if text)
    return f"{_front_matter(facts)}\n# {_plain(facts.name)}\n\n{_summary(facts.model)}\n\n{body}\n"


def _front_matter(facts: CardFacts) -> str:
    base = facts.model.base
    values: dict[str, object] = {
        "library_name": "poolwise",
        "pipeline_tag": "sentence-similarity",
        "tags": ["poolwise", "sentence-transformers", "feature-extraction", "embeddings"],
    }
    if base.hub:
        values |= {"base_model": base.hub, "base_model_relation": _RELATIONS.get(facts.model.method, "finetune")}
    if base.licence:
        values |= (
            {"license": base.licence.lower()}
            if base.licence.lower() in HUB_LICENCES
            else {"license": "other", "license_name": _slug(base.licence)}
        )
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def _summary(model: ModelFacts) -> str:
    design = parse_design(model.design)
    mode = parse_attention(design.attention)
    return (
        f"A text-embedding model on the base {_code(model.base.name)}: {POOLINGS[design.pooling].summary}, with "
        f"{mode.words}. Embeddings have {model.width} numbers and length 1."
    )


def _loading(facts: CardFacts) -> str:
    model = facts.model
    arguments = json.dumps(facts.name, ensure_ascii=False)
    needs_base = model.method != "full" and not model.base.included
    lines = ["```sh", "pip install poolwise", "```", "", "```python", "import poolwise", ""]
    lines += [f"model = poolwise.load_model({arguments})"]
    if "query" in model.prompts:
        lines += ['queries = model.encode_query(["how do I read a file"])']
        lines += ['documents = model.encode_document(["Open a file and return a file object."])']
    else:
        lines += ['queries = model.encode(["how do I read a file"])']
        lines += ['documents = model.encode(["Open a file and return a file object."])']
    lines += ["print(model.similarity(queries, documents))", "```", ""]
    lines += [
        "No `trust_remote_code` is needed. `SentenceTransformer(...)` without poolwise installed stops with the same "
        "advice; with poolwise installed it needs `trust_remote_code=True`."
    ]
    if needs_base:
        lines += ["", _base_advice(facts)]
    return "\n".join(lines)


def _base_advice(facts: CardFacts) -> str:
    base = facts.model.base
    what = f"The base {_code(base.name)} (fingerprint {_code(str(base.fingerprint))}) is not part of this model"
    if base.name.startswith("poolwise/"):
        return f"{what}: poolwise has it or fetches it."
    if base.hub:
        return f"{what}: it is fetched from the hub at first use."
    return f'{what} and not on the hub: give its folder or file, `poolwise.load_model(..., base="path/to/base")`.'


def _design(model: ModelFacts) -> str:
    design = parse_design(model.design)
    alias = f" ({design.alias} of arXiv:2409.02727)" if design.alias else ""
    rows = [
        ("Design", f"{_code(model.design)}{alias}"),
        ("Base", _base(model)),
        ("Pooling", _pooling(design)),
        ("Attention", _attention(model, design)),
        ("EOS", f"{_code(model.eos)} (id {model.eos_id}), added to every text after truncation"),
        ("Prompts", _prompts(model)),
        ("Maximum length", f"{model.max_tokens} tokens, EOS included; longer texts are truncated"),
        ("Normalisation", "embeddings have length 1, so cosine similarity is the dot product"),
    ]
    if model.dimensions:
        shorter = ", ".join(str(size) for size in model.dimensions if size != model.width)
        rows.append(("Shorter embeddings", f"trained at {shorter} numbers too: `truncate_dim`, then normalise"))
    return "\n".join(f"- **{name}:** {text}" for name, text in rows)


def _base(model: ModelFacts) -> str:
    base = model.base
    origin = f", from {_plain(base.origin)}" if base.origin else ""
    held = f", held in {base.dtype}" if base.dtype != "fp32" else ""
    place = "all weights are in this model" if model.method == "full" else ""
    place = "included in this model (folder `base/`)" if base.included else place
    where = f"; {place}" if place else ""
    return (
        f"{_code(base.name)}{origin}: {base.num_layers} layers of width {base.hidden_size}, "
        f"{base.num_parameters:,} parameters{held}{where}"
    )


def _pooling(design: Design) -> str:
    text = POOLINGS[design.pooling].summary
    if design.echoes:
        text += "; the base reads every text twice, and the second occurrence is pooled"
    if design.landmark_every is not None:
        text += f", with N = {design.landmark_every}, counted after the prompt"
    if design.skips_prompt:
        text += "; the prompt's tokens are left out"
    return text


def _attention(model: ModelFacts, design: Design) -> str:
    words = parse_attention(design.attention).words
    if not model.attention_found:
        return f"{words}; not probed"
    kernel = f" (with the {model.attention_kernel} kernel)" if model.attention_kernel else ""
    probed = ", ".join(f"{name} {'moves' if moved else 'stays'}" for name, moved in model.probe.items())
    return (
        f"{words}; the probe found {model.attention_found}{kernel}. It replaces the last token and looks whether the "
        f"first one's state moves: {probed}. poolwise probes again at every load"
    )


def _prompts(model: ModelFacts) -> str:
    used = {name: text for name, text in model.prompts.items() if text}
    if not used:
        return "none"
    default = f"; {_code(model.default_prompt)} is the default" if model.default_prompt else ""
    return ", ".join(f"{_code(name)} = {_code(text)}" for name, text in used.items()) + default


def _scores(study: StudyFacts | None) -> str:
    if study is None:
        return "Not known: this model was not evaluated in a study."
    names = list(dict.fromkeys(b.name for c in study.categories for b in c.baselines))
    head = ["Tasks", "This model", f"Design, {_count(study.num_seeds, 'seed')}", *(f"minus {name}" for name in names)]
    rows = [_category_row(category, names) for category in study.categories]
    parts = [
        f"From the study {_plain(study.name)} (recipe and inputs {_code(study.recipe_hash)}); this model has seed "
        f"{study.seed}. Means over the tasks of each category, then how far the design is above each baseline, which "
        f"is not trained for embeddings. {study.interval}".strip(),
        *(f"**{_plain(warning)}**" for warning in study.warnings),
        _table(head, rows),
    ]
    if study.tasks:
        tasks = [[_plain(t.task), t.metric, f"{t.num_items:,}", _score(t.score)] for t in study.tasks]
        table = _table(["Task", "Metric", "Items", "This model"], tasks)
        parts.append(f"<details><summary>Scores by task</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts)


def _category_row(found: CategoryScore, names: Sequence[str]) -> list[str]:
    title = found.category.replace("_", " ")
    cells = [f"{title} ({found.metric}; {_count(found.num_tasks, 'task')}, {found.num_items:,} items)"]
    cells += [_score(found.own), _score(found.mean)]
    known = {baseline.name: baseline for baseline in found.baselines}
    for name in names:
        baseline = known.get(name)
        if baseline is None:
            cells.append("\u2013")
        elif baseline.difference is None:
            cells.append(f"not tested ({_score(baseline.mean)})")
        else:
            shown = f"{_signed(baseline.difference)}"
            if baseline.interval is not None:
                shown += f" [{_signed(baseline.interval[0])}, {_signed(baseline.interval[1])}]"
            cells.append(shown + (f", {baseline.verdict}" if baseline.verdict else ""))
    return cells


def _training(model: ModelFacts, training: TrainingFacts | None) -> str:
    if training is None:
        return f"Trained weights: {_METHODS.get(model.method, model.method)}. Data and settings: {NOT_KNOWN}."
    if not training.settings.get("steps"):
        return "Not trained."
    rows = [
        [_plain(name), f"{count:,}", _plain(training.licences.get(name, "") or NOT_KNOWN)]
        for name, count in training.sources.items()
    ]
    settings = ", ".join(f"{key} {_code(str(value))}" for key, value in sorted(training.settings.items()))
    parts = [
        f"Trained: {_METHODS.get(model.method, model.method)} ({model.num_trained:,} parameters).",
        _table(["Data", "Rows", "Licence"], rows),
        f"Seed {training.seed}. Settings: {settings}.",
        *(f"{_plain(note[:1].upper() + note[1:])}." for note in training.notes),
    ]
    return "\n\n".join(parts)


def _cost(facts: CardFacts) -> str:
    model, training = facts.model, facts.training
    rows = [
        ("Parameters", f"{model.base.num_parameters:,} of the base, {model.num_trained:,} trained"),
        ("Embedding width", f"{model.width} numbers, {4 * model.width:,} bytes in fp32"),
    ]
    if facts.texts_per_second:
        rows.append(
            ("Encoding", f"{1000 / facts.texts_per_second:.3g} s for 1,000 texts of its tasks{_on(facts.machine)}")
        )
    else:
        rows.append(("Encoding", "not measured"))
    if training is not None and training.seconds:
        rows.append(("Training", f"{training.seconds:,.0f} s{_on(training.machine)}"))
    return "\n".join(f"- **{name}:** {text}" for name, text in rows)


def _on(machine: str) -> str:
    return f" on {_plain(machine)}" if machine else ""


def _limits(facts: CardFacts) -> str:
    model = facts.model
    lines = [
        f"Texts beyond {model.max_tokens} tokens are truncated.",
        "Scores hold for the tasks above; other languages and domains were not tested."
        if facts.study
        else "It was not evaluated in a study: measure it on your tasks with `poolwise eval`.",
        "Served by Python with poolwise. Designs that vLLM and TEI cannot serve do not load there.",
    ]
    if model.prompts:
        lines.append("Queries and documents need the prompts above; `encode_query` and `encode_document` add them.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(facts: CardFacts) -> str:
    known = facts.training.licences if facts.training else {}
    sources = list(facts.training.sources) if facts.training else []
    data = "; ".join(f"{_plain(name)}: {_plain(known.get(name, '') or NOT_KNOWN)}" for name in sources) or NOT_KNOWN
    lines = [
        f"- **Base:** {_plain(facts.model.base.licence or NOT_KNOWN)}",
        f"- **Training data:** {data}",
    ]
    if facts.model.base.licence:
        lines.append("\nThe licence in this card's header is that of the base.")
    return "\n".join(lines)


def _made_with(facts: CardFacts) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return f"[poolwise](https://pypi.org/project/poolwise/){f' ({versions})' if versions else ''}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _score(value: float | None) -> str:
    return "\u2013" if value is None else f"{value:.4f}".replace("-", _MINUS)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", _MINUS)


def _code(text: str) -> str:
    """Return text as Markdown shows it unchanged, between more backticks than it has in a row."""
    shown = json.dumps(text, ensure_ascii=False)[1:-1] if re.search(r"[\n\r\t]", text) else text
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    # Markdown strips a space on both sides, if both are there.
    is_stripped = shown.startswith(" ") and shown.endswith(" ")
    pad = " " if is_stripped or not shown or "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _plain(text: str) -> str:
    """Return text that Markdown and HTML show as it is."""
    escaped = re.sub(r"([\\`*\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "other"
