"""A model with one fault fails on the line of that fault, and on no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AttentionInterface

from doctor_models import POSITIONS, change, save_base, save_stock, stock
from poolwise.checks import attention, diagnose, examine
from poolwise.models import build_model
from poolwise.models.attention import set_attention
from poolwise.upstream.transformers import attention_in_use
from tiny_models import HIDDEN


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("bare"), "llama", has_eos=False)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("gpt2"), "gpt2")


def wrong(checks: Any) -> dict[str, str]:
    return {check.name: check.status for check in checks if check.status in ("warn", "fail")}


Features = dict[str, Any]


class After(torch.nn.Module):
    """A module that changes the embedding with a function of it and the features."""

    def __init__(self, change: Callable[[torch.Tensor, Features], torch.Tensor]) -> None:
        super().__init__()
        self.change = change

    def forward(self, features: Features) -> Features:
        return {**features, "sentence_embedding": self.change(features["sentence_embedding"], features)}


class Pooled(torch.nn.Module):
    """A pooling that is a function of states and mask, and names none."""

    def __init__(self, pool: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, features: Features) -> Features:
        vector = self.pool(features["token_embeddings"], features["attention_mask"])
        return {**features, "sentence_embedding": vector}


class SaysMean(Pooling):
    """Claims the mean and returns the last token."""

    def forward(self, features: Features, **_: Any) -> Features:
        last = Pooling(HIDDEN, "lasttoken").forward(dict(features))["sentence_embedding"]
        return {**features, "sentence_embedding": last}


class PoolsPrompts(Pooling):
    """Pools the prompt whatever include_prompt says."""

    def forward(self, features: Features, **_: Any) -> Features:
        return super().forward({name: x for name, x in features.items() if name != "prompt_length"})


def nan_in_batches(vector: torch.Tensor, features: Features) -> torch.Tensor:
    is_padded = (features["attention_mask"] == 0).any(dim=1, keepdim=True)
    return vector.masked_fill(is_padded, float("nan"))


def zero_if_long(vector: torch.Tensor, features: Features) -> torch.Tensor:
    return vector * (features["attention_mask"].sum(dim=1, keepdim=True) < 60)


def first_states(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    early = mask * (mask.cumsum(dim=1) <= 12)
    return (states * early[..., None]).sum(dim=1) / early.sum(dim=1, keepdim=True)


MEAN = lambda: Pooling(HIDDEN, "mean")  # noqa: E731
IN_MEMORY: dict[str, tuple[Callable[[], list[torch.nn.Module]], dict[str, str]]] = {
    "wrong pooling": (lambda: [SaysMean(HIDDEN, "mean")], {"pooling": "fail"}),
    "unmasked padding": (lambda: [Pooled(lambda states, _: states.mean(dim=1))], {"batch invariance": "fail"}),
    "last column": (lambda: [Pooled(lambda states, _: states[:, -1])], {"padding side": "fail"}),
    "zero vectors": (lambda: [MEAN(), After(lambda v, _: v * 0)], {"distinct vectors": "fail"}),
    "some zero vectors": (lambda: [MEAN(), After(zero_if_long)], {"distinct vectors": "fail"}),
    "equal vectors": (lambda: [MEAN(), After(lambda v, _: torch.ones_like(v))], {"distinct vectors": "fail"}),
    "NaN in a batch": (lambda: [MEAN(), After(nan_in_batches)], {"finite values": "fail"}),
    "NaN everywhere": (lambda: [MEAN(), After(lambda v, _: v * float("nan"))], {"finite values": "fail"}),
    "one direction": (lambda: [MEAN(), After(lambda v, _: v + 500)], {"spread": "warn"}),
    "reads the start": (lambda: [Pooled(first_states)], {"distractors": "warn"}),
    "prompt pooled": (lambda: [PoolsPrompts(HIDDEN, "mean", include_prompt=False)], {"prompt": "fail"}),
    "normalised early": (lambda: [MEAN(), Normalize(), After(lambda v, _: v * 3)], {"normalisation": "warn"}),
    "normalised twice": (lambda: [MEAN(), Normalize(), Normalize()], {"normalisation": "warn"}),
}


@pytest.mark.parametrize("fault", IN_MEMORY)
def test_a_fault_in_a_module_fails_on_its_own_line(llama: str, fault: str) -> None:
    modules, expected = IN_MEMORY[fault]
    assert wrong(diagnose(stock(llama, *modules()))) == expected


class RawStates(torch.nn.Module):
    """Replaces the token states by those before the final norm."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        transformer.layers[-1].register_forward_hook(self.keep)

    def keep(self, _layer: Any, _inputs: Any, output: Any) -> None:
        self.raw = output[0] if isinstance(output, tuple) else output

    def forward(self, features: Features) -> Features:
        return {**features, "token_embeddings": self.raw}


def test_states_before_the_final_norm_are_found(llama: str) -> None:
    model = stock(llama)
    raw = RawStates(model[0].model)
    model = SentenceTransformer(modules=[model[0], raw, MEAN()], device="cpu")
    assert wrong(diagnose(model)) == {"final norm": "warn"}


def test_eos_that_truncation_drops_is_found(bare: str) -> None:
    model = stock(bare, Pooling(HIDDEN, "lasttoken"))
    plain = model[0].preprocess
    model[0].preprocess = lambda texts, **options: plain([f"{text}<eos>" for text in texts], **options)
    assert wrong(diagnose(model)) == {"truncation": "fail"}


def test_eos_that_is_masked_as_padding_is_found(gpt2: str) -> None:
    model = stock(gpt2, Pooling(HIDDEN, "lasttoken"))
    plain = model[0].preprocess

    def by_id(texts: list[str], **options: Any) -> Features:
        features = plain(texts, **options)
        return {**features, "attention_mask": (features["input_ids"] != model.tokenizer.pad_token_id).long()}

    model[0].preprocess = by_id
    checks = diagnose(model)
    assert wrong(checks) == {"eos": "fail"}
    assert "the mask leaves it out as padding" in {check.name: check.found for check in checks}["eos"]


def test_two_half_precisions_are_found(llama: str) -> None:
    model = stock(llama)
    model[1].register_parameter("a", torch.nn.Parameter(torch.zeros(1, dtype=torch.float16)))
    model[1].register_parameter("b", torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16)))
    assert wrong(diagnose(model)) == {"dtype": "warn"}


def test_a_model_that_stops_with_an_error_fails_and_says_so(llama: str) -> None:
    def stop(_vector: torch.Tensor, features: Features) -> torch.Tensor:
        raise RuntimeError(f"no embedding of {tuple(features['input_ids'].shape)}")

    checks = diagnose(stock(llama, MEAN(), After(stop)))
    assert wrong(checks) == {"finite values": "fail"}
    said = {check.name: check for check in checks}
    assert said["spread"].found == "not judged: see finite values"
    assert said["finite values"].found.startswith("the model stops with an error: no embedding of (1, ")


@pytest.mark.parametrize("mode", ["bidirectional", "bidirectional(top=1)"])
def test_our_own_model_that_is_silently_causal_is_found(llama: str, mode: str) -> None:
    model = build_model(f"mean+{mode}", llama, method="frozen", max_tokens=512)
    set_attention(model[0].model, "causal")
    assert wrong(diagnose(model)) == {"attention": "fail"}


def test_what_moved_under_a_partial_attention_is_told(llama: str) -> None:
    for option, moved in (("top=1", "layer 2 False, layer 3 True)"), ("on=prompt", "right False, prompt True)")):
        model = build_model(f"mean+bidirectional({option})", llama, method="frozen", max_tokens=512)
        (found,) = [check.found for check in diagnose(model) if check.name == "attention"]
        assert found.startswith(f"bidirectional({option}) (token 0 moved: unpadded ") and moved in found


def test_our_own_model_that_depends_on_the_batch_is_found(llama: str) -> None:
    backbone = build_model("mean+causal", llama, method="frozen", max_tokens=512)[0]
    backbone.packs = False  # packed, the padding is zero and the mean only shrinks, which no cosine shows
    model = SentenceTransformer(modules=[backbone, Pooled(lambda states, _: states.mean(dim=1))], device="cpu")
    assert wrong(diagnose(model)) == {"batch invariance": "fail"}


Folder = Callable[[Path], None]


def second_norm(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({**modules[-1], "idx": 3, "name": "3"})
    (folder / "modules.json").write_text(json.dumps(modules))


IN_A_FOLDER: dict[str, tuple[str, str, Folder, dict[str, str]]] = {
    "silently causal": (
        "llama",
        "mean",
        lambda folder: change(folder / "config.json", architectures=["LlamaBiModel"]),
        {"attention": "fail"},
    ),
    "keys disagree": (
        "llama",
        "mean",
        lambda folder: change(folder / "1_Pooling/config.json", pooling_mode_lasttoken=True),
        {"pooling": "fail"},
    ),
    "no EOS": ("bare", "lasttoken", lambda _: None, {"eos": "fail"}),
    "no mask": (
        "llama",
        "mean",
        lambda folder: change(folder / "tokenizer_config.json", model_input_names=["input_ids"]),
        {"batch invariance": "fail"},
    ),
    "left padding": (
        "gpt2",
        "mean",
        lambda folder: change(folder / "tokenizer_config.json", padding_side="left"),
        {"padding side": "fail"},
    ),
    "no padding token": (
        "llama",
        "mean",
        lambda folder: change(folder / "tokenizer_config.json", pad_token=None),
        {"padding token": "fail"},
    ),
    "too long": (
        "gpt2",
        "mean",
        lambda folder: change(folder / "sentence_bert_config.json", max_seq_length=5 * POSITIONS),
        {"max length": "fail"},
    ),
    "doubled": ("llama", "mean", second_norm, {"normalisation": "warn"}),
}
"""The base, the pooling, the fault, and what is found; each can be fixed by a setting."""


QUICK = ("silently causal", "no EOS", "doubled")


@pytest.mark.parametrize(
    "fault", [fault if fault in QUICK else pytest.param(fault, marks=pytest.mark.slow) for fault in IN_A_FOLDER]
)
def test_a_fault_in_a_setting_is_found_and_fixed_in_a_copy(
    tmp_path: Path, fault: str, request: pytest.FixtureRequest
) -> None:
    name, mode, breaks, expected = IN_A_FOLDER[fault]
    folder = save_stock(tmp_path / "model", request.getfixturevalue(name), mode)
    breaks(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    diagnosis = examine(str(folder), fix=tmp_path / "copy")
    assert wrong(diagnosis) == expected
    assert diagnosis.fix is not None and list(diagnosis.fix.changes) == list(expected)
    assert wrong(diagnosis.fix.checks) == {} and wrong(examine(str(tmp_path / "copy"))) == {}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "model"]


def test_a_chat_template_around_texts_is_a_warning(tmp_path: Path, llama: str) -> None:
    from sentence_transformers.base.modules import Transformer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = "{% for m in messages %}user: {{ m['content'] }}{% endfor %}"
    base = save_base(tmp_path / "base", "llama")
    tokenizer.save_pretrained(base)
    model = SentenceTransformer(modules=[Transformer(base, max_seq_length=POSITIONS), MEAN()], device="cpu")
    checks = diagnose(model)
    assert wrong(checks) == {"chat template": "warn"}
    assert "user: a dog" in {check.name: check.found for check in checks}["chat template"]


def test_a_bos_that_is_promised_and_missing_is_found(gpt2: str) -> None:
    model = stock(gpt2)
    model.tokenizer.init_kwargs["add_bos_token"] = True
    assert wrong(diagnose(model)) == {"bos": "fail"}


def test_kernels_that_disagree_are_a_warning(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sees_all(_module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **__: Any) -> Any:
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2), None

    AttentionInterface.register("sees_all", sees_all)
    monkeypatch.setattr(attention, "_KERNELS", ("eager", "sees_all"))
    model = stock(llama)
    checks = diagnose(model)
    assert wrong(checks) == {"attention kernels": "warn"}
    (check,) = [check for check in checks if check.name == "attention kernels"]
    assert check.found.startswith("sdpa, eager: all 3 layers causal; sees_all: all 3 layers bidirectional")
    assert check.hint == "load the model with attn_implementation='sdpa' wherever it is used"
    assert attention_in_use(model[0].model.config) == "sdpa"
