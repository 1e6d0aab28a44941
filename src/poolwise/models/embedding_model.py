"""``EmbeddingModel``: a ``SentenceTransformer`` with a faster ``encode`` that takes the same arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from poolwise.cards import CardFacts, TrainingFacts, write_card
from poolwise.errors import ConfigError, ModelError
from poolwise.hub import is_hub_id
from poolwise.kernels.lanes import Lanes
from poolwise.kernels.reading import Reader, Row, read_texts
from poolwise.kernels.transfer import sent
from poolwise.models.backbone import Backbone
from poolwise.models.card import model_facts, used_versions
from poolwise.models.merge import encoding_copy, reads_last_only
from poolwise.models.model_state import ModelState, state_of
from poolwise.models.saved_base import include_base, leave_places_out
from poolwise.models.saved_folder import INCLUDED_BASE
from poolwise.models.saving import weight_hashes, whole_model
from poolwise.upstream.sentence_transformers import DirectModel

STOCK_BATCH_SIZE = 32
"""sentence-transformers' default. Our batches are limited by tokens, so only a smaller number is a limit."""


class EmbeddingModel(DirectModel):
    """A design as a ``SentenceTransformer``: train, save, evaluate and use it like any other.

    ``encode``, ``encode_query`` and ``encode_document`` use a copy of the modules that is prepared at the first call:
    adapters merged, layers fused, weights in bf16 if products are. The copy shares all weights that need no change, is
    kept between calls, and is rebuilt when a weight, the device or a setting changes. Encoding never changes the model.

    sentence-transformers' own loop runs instead if the copy could behave differently (your hooks or ``forward``,
    ``compile``, a device map), or if token embeddings are requested.

    Law: the embeddings equal those of sentence-transformers' loop over the same modules, up to rounding.
    """

    _fast: tuple[ModelState, Reader] | None = None
    known_facts: CardFacts | None = None
    """The facts of the card of the saved model that it was loaded from."""
    training_facts: TrainingFacts | None = None
    """How it was trained, if it was trained in this process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fast_lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the prepared copy when the model is pickled or copied."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_fast", "_fast_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._fast_lock = threading.Lock()

    def train(self, mode: bool = True) -> EmbeddingModel:
        """Set training mode; this drops the copy for encoding, because training changes the weights."""
        if mode:
            self._fast = None
        super().train(mode)
        return self

    def save(
        self,
        path: str | Path,
        model_name: str | None = None,
        create_model_card: bool = True,
        train_datasets: list[str] | None = None,
        safe_serialization: bool = True,
        *,
        base: str | None = None,
    ) -> None:
        """Write the model into a folder that ``poolwise.load_model`` can load, whole or not at all, with a model card.

        The base is named by its hub commit, or its folder's or file's name, and by its fingerprint.

        Args:
            path: a new or empty folder, or a poolwise model to replace.
            model_name: what the card calls the model, by default the folder's name. With the name of a repository,
                ``org/name``, paths of this machine are left out.
            create_model_card: write README.md, and card.yaml with what it is made from.
            base: "include" copies the base's files into the folder, so that it loads where the base is not.
        The other arguments are those of sentence-transformers; a card does not depend on them.

        Raises: ModelError if the model was prepared for encoding in place, because its adapter was merged, or if the
            disk is full; ConfigError if the folder holds something else.
        """
        if path is None:
            return
        if base not in (None, "include"):
            raise ConfigError(f"base is {base!r}", 'wanted "include" or None')
        if getattr(self[0], "is_prepared", False):
            raise ModelError(
                "the model was prepared for encoding, which merged its adapter",
                "wanted a model as it was built, trained or loaded",
                "load it again; encode prepares a copy and keeps the model",
            )
        final = Path(path).expanduser().resolve()
        with whole_model(final) as folder:
            super().save(str(folder), create_model_card=False, safe_serialization=safe_serialization)
            if isinstance(backbone := self[0], Backbone):
                self._save_more(backbone, folder, final, model_name or final.name, base == "include", create_model_card)

    def _save_more(
        self, backbone: Backbone, folder: Path, final: Path, name: str, includes: bool, with_card: bool
    ) -> None:
        """Add to a folder that will be moved to ``final``: where the base is, the base itself, the card."""
        if backbone.method != "full":
            backbone.name_base_in(folder, final)
            # A base that is in the folder that is replaced must stay with it.
            includes = includes or Path(backbone.base).is_relative_to(final / INCLUDED_BASE)
            if includes:
                include_base(folder)
            elif is_hub_id(name):  # sentence-transformers' push_to_hub saves the model with such a name
                leave_places_out(folder)
        if with_card:
            write_card(folder, self.card_facts(name, folder, included=includes and backbone.method != "full"))

    def save_pretrained(self, path: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the model as ``save`` does, with the same arguments."""
        self.save(path, *args, **kwargs)

    def card_facts(self, name: str, folder: Path, *, included: bool) -> CardFacts:
        """Return what the card of this model says, if it is saved in ``folder`` and called ``name``.

        Training, scores and cost are those of the model that it was loaded from, if its weights are still the same.
        """
        weights, known = weight_hashes(folder), self.known_facts
        model = model_facts(self, included=included)
        if known is not None and not model.base.licence and known.model.base.name == model.base.name:
            # Filled in by hand, or read from a base that is gone.
            model = model.model_copy(
                update={"base": model.base.model_copy(update={"licence": known.model.base.licence})}
            )
        facts = CardFacts(
            name=name, model=model, training=self.training_facts, weights=weights, versions=used_versions()
        )
        if self.training_facts is None and known is not None and known.weights == weights and _is_same(known, facts):
            kept = {key: getattr(known, key) for key in ("training", "study", "texts_per_second", "machine")}
            return facts.model_copy(update=kept)
        return facts

    @property
    def has_reader(self) -> bool:
        """Whether ``reader`` returns one: no part of the model could behave differently in a copy."""
        return self._current_reader() is not None

    def reader(self) -> Reader:
        """Return the reader for the model's current state; it is rebuilt only if something changed.

        Raises: ModelError if a copy of the model could behave differently.
        """
        if (reader := self._current_reader()) is None:
            raise ModelError("the model has hooks, a replaced forward or a device map", hint="use model.encode")
        return reader

    def _current_reader(self) -> Reader | None:
        with self._fast_lock:
            if self._fast is None or not self._fast[0].is_of(self):
                self._fast = None  # freed first, so that memory never holds two copies
                state = state_of(self)
                self._fast = None if state is None else (state, open_reader(self))
            return self._fast[1] if self._fast else None

    def read_inputs(self, inputs: list[Any], device: str | torch.device | None, options: dict[str, Any]) -> Any:
        """Return the embeddings of texts, with arguments resolved by ``encode``; the class docstring says how."""
        if asked := options.get("processing_kwargs"):
            raise ConfigError(
                f"processing_kwargs={asked} is not supported",
                "wanted the model's own tokenisation",
                "set model.max_seq_length to truncate texts at another length",
            )
        if device is not None:
            self.move_to(device)
        is_plain = options["output_value"] == "sentence_embedding" and not self.is_placed_by_others
        reader = self._current_reader() if is_plain else None
        if reader is None:
            return self._by_stock_loop(inputs, device, options)
        if not inputs:
            return torch.tensor([], device=reader.device)
        most_texts = options["batch_size"] if options["batch_size"] < STOCK_BATCH_SIZE else None
        found = read_texts(reader, inputs, options["prompt"] or "", most_texts=most_texts)
        finish = _finisher(options["truncate_dim"], options["normalize_embeddings"])
        vectors = gather(found, len(inputs), finish, options["save_to_cpu"], options["show_progress_bar"])
        _require_finite(vectors)
        return vectors

    def _by_stock_loop(self, inputs: list[Any], device: str | torch.device | None, options: dict[str, Any]) -> Any:
        before = [(module, module.training) for module in self.modules()]
        try:
            return self.read_by_stock_loop(inputs, device, options)
        finally:
            for module, was_training in before:
                module.training = was_training


def _require_finite(vectors: Float[Tensor, "B D"]) -> None:
    """Raise ModelError where an embedding is not finite: similarities to it would be no numbers, without a word."""
    if not (is_good := vectors.isfinite().all(dim=1)).all():
        bad = (~is_good).nonzero().flatten().tolist()
        raise ModelError(
            f"the embedding of text {bad[0]} is not finite ({len(bad):,} of {len(vectors):,} are not)",
            "wanted finite numbers",
            "load the model with precision fp32, and try poolwise doctor",
        )


def _is_same(known: CardFacts, facts: CardFacts) -> bool:
    """Return whether two cards are about one design on one base, which is all that some models without weights have."""
    return (known.model.design, known.model.base.fingerprint) == (facts.model.design, facts.model.base.fingerprint)


def open_reader(model: SentenceTransformer) -> Reader:
    """Return the reader of a model whose first module is a ``Backbone``.

    It uses the model itself if that was prepared in place, otherwise a prepared copy of its modules.
    """
    backbone = model[0]
    assert isinstance(backbone, Backbone)
    modules = nn.Sequential(*model.children()) if backbone.is_prepared else encoding_copy(model)
    device = backbone.model.device

    def read(replica: nn.Sequential, rows: Sequence[Row]) -> Float[Tensor, "B D"]:
        return _vectors(replica, backbone, rows, device)

    return Reader(
        tokenise=lambda texts, prompt: backbone.tokens.encode(texts, prompt, backbone.max_tokens),
        read=read,
        lanes=Lanes(modules, [backbone.tokenizer, backbone.tokens]),
        device=device,
        is_packed=backbone.packs_on(device),
    )


@torch.inference_mode()
def _vectors(
    modules: nn.Sequential, backbone: Backbone, rows: Sequence[Row], device: torch.device
) -> Float[Tensor, "B D"]:
    _, ids, num_prompt = zip(*rows, strict=True)
    features: dict[str, Any] = backbone.arrange(ids, num_prompt)
    first: Backbone = modules[0]  # type: ignore[assignment]
    packing = first.pack(features, device, last_only=reads_last_only(modules))
    on_device = {name: sent(value, device) for name, value in features.items()}
    output = modules({**on_device, "packing": packing})
    vectors: Tensor = output["sentence_embedding"].float()
    return vectors


def _finisher(truncate_dim: int | None, normalize: bool) -> Callable[[Tensor], Tensor]:
    def finish(vectors: Tensor) -> Tensor:
        vectors = vectors if truncate_dim is None else vectors[..., :truncate_dim]
        return functional.normalize(vectors, p=2, dim=1) if normalize else vectors

    return finish


def gather(
    found: Iterator[tuple[list[int], Tensor]],
    num_texts: int,
    finish: Callable[[Tensor], Tensor] = lambda vectors: vectors,
    to_cpu: bool = True,
    show_progress_bar: bool = False,
) -> Float[Tensor, "B D"]:
    """Return the embeddings of all batches in the order of the texts; ``finish`` is applied to each batch."""
    from tqdm.autonotebook import tqdm

    result: Tensor | None = None
    with tqdm(total=num_texts, desc="Texts", unit=" texts", disable=not show_progress_bar) as bar:
        for numbers, vectors in found:
            finished = finish(vectors)
            if to_cpu:
                finished = finished.cpu()
            if result is None:
                result = finished.new_empty(num_texts, finished.shape[-1])
            result[numbers] = finished
            bar.update(len(numbers))
    assert result is not None, "every text is in a batch"
    return result
