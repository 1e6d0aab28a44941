"""What we use of other libraries' private parts stands in ``poolwise.upstream`` alone, and exists as we use it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import poolwise
from support import ROOT

PACKAGE = ROOT / "src" / "poolwise"
LIBRARIES = ("torch", "transformers", "sentence_transformers", "peft", "mteb", "huggingface_hub", "datasets", "gguf")
LIBRARIES += ("ray",)
PUBLIC = {
    **dict.fromkeys(LIBRARIES, "what a library exports at its top"),
    "torch.distributed": "pytorch.org/docs: torch.distributed",
    "torch.distributed.device_mesh": "pytorch.org/docs: torch.distributed, device mesh",
    "torch.distributed.fsdp": "pytorch.org/docs: torch.distributed.fsdp.fully_shard",
    "torch.distributed.tensor": "pytorch.org/docs: torch.distributed.tensor",
    "torch.nn": "pytorch.org/docs: torch.nn",
    "torch.nn.utils.rnn": "pytorch.org/docs: torch.nn.utils.rnn.pad_sequence",
    "torch.nn.attention": "pytorch.org/docs: torch.nn.attention",
    "torch.nn.functional": "pytorch.org/docs: torch.nn.functional",
    "torch.optim": "pytorch.org/docs: torch.optim",
    "torch.optim.lr_scheduler": "pytorch.org/docs: torch.optim, how to adjust learning rate",
    "torch.utils.data": "pytorch.org/docs: torch.utils.data",
    "torch.utils.checkpoint": "pytorch.org/docs: torch.utils.checkpoint",
    "torch.autograd.function": "pytorch.org/docs: torch.autograd, once_differentiable",
    "transformers.integrations": "huggingface.co/docs/transformers/main_classes/callback: TensorBoardCallback",
    "transformers.utils": "huggingface.co/docs/transformers: logging is documented as transformers.utils.logging",
    "sentence_transformers.base.modules": "sbert.net/docs/package_reference/base/modules",
    "sentence_transformers.sentence_transformer.modules": "sbert.net/docs: creating custom models",
    "sentence_transformers.sentence_transformer.losses": "sbert.net/docs: losses",
    "sentence_transformers.util": "sbert.net/docs/package_reference/util",
    "peft.tuners.tuners_utils": "huggingface.co/docs/peft/package_reference/tuners: BaseTuner, BaseTunerLayer",
    "huggingface_hub.errors": "huggingface.co/docs/huggingface_hub/package_reference/utilities: errors",
    "mteb.abstasks": "the mteb documentation's API of tasks",
    "mteb.abstasks.task_metadata": "exported at mteb's top as TaskMetadata",
    "mteb.models": "the mteb documentation's API of models",
    "mteb.similarity_functions": "the mteb documentation's API of similarity functions",
    "mteb.types": "the mteb documentation's API of types",
}
"""Modules that may be imported anywhere, and where each is documented."""


@dataclass(frozen=True)
class Part:
    """Something of another library that it does not promise.

    Args:
        place: module and name, ``torch.cpu:_is_amx_tile_supported``; further dots are attributes.
        parameters: the first parameters, as we give them; None for what is not called.
        breaks: the function of ours that needs it.
    """

    place: str
    parameters: tuple[str, ...] | None
    breaks: str

    @property
    def library(self) -> str:
        return self.place.partition(":")[0].partition(".")[0].replace("_", "-")

    def found(self) -> Any:
        module, _, name = self.place.partition(":")
        return reduce(_step, name.split("."), importlib.import_module(module))


def _step(owner: Any, name: str) -> Any:
    """Return an attribute, or for ``Name()`` an object of the class."""
    return getattr(owner, name.removesuffix("()"))() if name.endswith("()") else getattr(owner, name)


TRAINER = "training.trainer.ScheduleTrainer"
MODEL = "models.embedding_model.EmbeddingModel"
PARTS = [
    Part("torch.cpu:_is_amx_tile_supported", (), "kernels.precision.has_tiles"),
    Part("torch.cpu:_is_avx512_bf16_supported", (), "kernels.precision.has_fast_bf16"),
    Part("torch:ops.mkldnn._reorder_linear_weight", ("self", "batch_size"), "kernels.packed_linear.pack_linears"),
    Part(
        "torch:ops.mkldnn._linear_pointwise",
        ("X", "W", "B", "attr", "scalars", "algorithm"),
        "kernels.packed_linear.pack_linears",
    ),
    Part(
        "torch.nn.attention.varlen:varlen_attn",
        ("query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k", "*scale", "*window_size", "*enable_gqa"),
        "kernels.varlen.attend_varlen",
    ),
    Part("torch.nn:Module._apply", ("self", "fn", "recurse"), "models.pooling.base.Pooling"),
    *(
        Part(f"torch.nn:Module().{name}", None, "models.model_state.state_of")
        for name in (
            "_parameters",
            "_buffers",
            "_modules",
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_compiled_call_impl",
        )
    ),
    Part("torch:Tensor._version", None, "models.model_state.state_of"),
    Part(
        "sentence_transformers:SentenceTransformer._inference",
        (
            "self",
            "inputs",
            *(f"*{name}" for name in ("prompt", "batch_size", "show_progress_bar", "output_value", "save_to_cpu")),
            *("*normalize_embeddings", "*truncate_dim", "*device"),
        ),
        MODEL,
    ),
    Part("sentence_transformers:SentenceTransformer._resolve_inference_device", ("self", "device"), MODEL),
    Part("sentence_transformers:SentenceTransformer._placement_is_delegated", None, MODEL),
    Part("transformers:PreTrainedConfig._attn_implementation", None, "kernels.packing.use_packing"),
    Part(
        "transformers.integrations.sdpa_attention:sdpa_attention_forward",
        ("module", "query", "key", "value", "attention_mask", "*dropout", "*scaling"),
        "kernels.packing.packed_attention",
    ),
    Part(
        "transformers.masking_utils:sdpa_mask",
        ("batch_size", "q_length", "kv_length"),
        "kernels.packing.packed_attention",
    ),
    Part("transformers.pytorch_utils:Conv1D", ("nf", "nx"), "models.adapter.add_lora"),
    Part("transformers:TrainingArguments.n_gpu", None, TRAINER),
    Part("transformers:Trainer._clip_grad_norm", ("self", "model"), TRAINER),
    Part("transformers:Trainer._get_output_dir", ("self", "trial"), TRAINER),
    Part("transformers:Trainer._move_model_to_device", ("self", "model", "device"), TRAINER),
    Part("transformers:Trainer._save_checkpoint", ("self", "model", "trial"), TRAINER),
    Part(
        "sentence_transformers:SentenceTransformerTrainer._save",
        ("self", "output_dir", "state_dict"),
        TRAINER,
    ),
    Part(
        "sentence_transformers:SentenceTransformerTrainer._load_from_checkpoint",
        ("self", "checkpoint_path"),
        TRAINER,
    ),
    Part("transformers:PreTrainedModel._hf_peft_config_loaded", None, "imports.build.import_model"),
    Part("peft.tuners.lora:Linear", None, "kernels.fused_training.fused_training"),
    Part(
        "mteb.abstasks:AbsTask._save_task_predictions",
        ("self", "predictions"),
        "tasks.bridge.build_task",
    ),
    Part(
        "mteb.abstasks:AbsTaskClassification._undersample_data",
        ("self", "dataset", "experiment_num", "idxs"),
        "tasks.classification.ClassificationTask",
    ),
    Part(
        "mteb.abstasks:AbsTaskClassification._calculate_scores",
        ("self", "y_test", "y_pred"),
        "tasks.classification.ClassificationTask",
    ),
    Part(
        "mteb._evaluators:ClusteringEvaluator",
        (
            "dataset",
            *(f"*{name}" for name in ("input_column_name", "label_column_name", "task_metadata", "hf_split")),
            *("*hf_subset", "*timer"),
        ),
        "tasks.clustering.ClusteringTask",
    ),
    Part("mteb.timing:TimingStack", (), "tasks.clustering.ClusteringTask"),
    Part("mteb._create_dataloaders:_retrieval_texts", ("dataset", "prompt_type"), "tasks.mteb_hub.load_mteb"),
    Part("mteb.get_tasks:TASK_LIST", None, "tasks.mteb_hub.load_mteb"),
    Part("huggingface_hub.constants:HF_HUB_OFFLINE", None, "hub.hub_access"),
    Part("huggingface_hub.constants:ENDPOINT", None, "hub.is_reachable"),
    Part("datasets.config:HF_HUB_OFFLINE", None, "hub.hub_access"),
]
LORA_ATTRIBUTES = "merged lora_variant fan_in_fan_out lora_A lora_B lora_bias lora_dropout scaling active_adapters"


def sources(*, upstream: bool) -> list[Path]:
    """Return the files of ``poolwise.upstream``, or all others."""
    return [path for path in sorted(PACKAGE.rglob("*.py")) if (path.parent == PACKAGE / "upstream") == upstream]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def own_private_names() -> set[str]:
    """Return every private name that modules other than the upstream ones give something of their own."""
    names: set[str] = set()
    for path in sources(upstream=False):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                is_own = isinstance(node, ast.Name) or ast.unparse(node.value) in ("self", "cls")
                names.update([node.id if isinstance(node, ast.Name) else node.attr] if is_own else [])
    return {name for name in names if is_private(name)}


OWN = own_private_names()
DOCUMENTED = {"os._exit"}
"""Names with an underscore that their reference page describes."""


def is_submodule(name: str) -> bool:
    if not name.rpartition(".")[2].islower():  # sentence_transformers keeps modules under the names of classes
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def imported_modules(node: ast.AST) -> Iterator[str]:
    """Yield the modules of the libraries that an import reads, submodules imported by name too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module
        if node.module.partition(".")[0] in LIBRARIES and node.module not in PUBLIC:
            return
        for alias in node.names:
            if node.module.partition(".")[0] in LIBRARIES and is_submodule(f"{node.module}.{alias.name}"):
                yield f"{node.module}.{alias.name}"


def private_uses(source: str) -> list[str]:
    """Return what a module reads of the libraries' private parts, each with its line."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        for name in imported_modules(node):
            # Of a package that is public its modules with a reference page are too: transformers.utils.logging.
            is_known = name in PUBLIC or name == "transformers.utils.logging"
            if name.partition(".")[0] in LIBRARIES and not is_known:
                found.append((node.lineno, f"the module {name}"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names if is_private(alias.name)]
        elif isinstance(node, ast.Attribute):
            owner, text = ast.unparse(node.value), ast.unparse(node)
            chain = text.split(".")
            if chain[0] in LIBRARIES and any(is_private(part) for part in chain):
                found.append((node.lineno, text))
            elif is_private(node.attr) and owner not in ("self", "cls") and text not in DOCUMENTED:
                is_foreign = owner == "super()" or node.attr not in OWN
                found += [(node.lineno, text)] * is_foreign
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            names = [arg.value for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
            found += [(node.lineno, f"the attribute {name!r}") for name in names if is_private(str(name))]
        elif isinstance(node, ast.keyword) and node.arg and is_private(node.arg):
            found.append((node.lineno, f"the keyword {node.arg}"))
    return [f"line {line}: {what}" for line, what in sorted(set(found))]


@pytest.mark.parametrize("path", sources(upstream=False), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_parts_stand_in_upstream_alone(path: Path) -> None:
    assert private_uses(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from transformers.masking_utils import sdpa_mask",
        "import mteb.get_tasks",
        "from mteb import get_tasks",
        "from mteb.abstasks import _x",
        "import torch\ntorch.cpu._is_amx_tile_supported()",
        "import torch\ntorch._C._x()",
        "config._attn_implementation",
        "getattr(torch.cpu, '_is_amx_tile_supported')",
        "build(task, _undersample_data=draw)",
        "class A(Trainer):\n    def _save_checkpoint(self): super()._save_checkpoint()",
    ],
)
def test_private_uses_are_found(source: str) -> None:
    assert private_uses(source)


def is_method(value: object) -> bool:
    return inspect.isroutine(value) or isinstance(value, classmethod | staticmethod | property)


def test_no_class_of_ours_overrides_a_private_method_elsewhere() -> None:
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(poolwise.__path__, "poolwise.")
        # The first freezes what is imported, for workers alone; the second is tested by make interop.
        if found.name not in ("poolwise.study.preload", "poolwise.search.llama_index")
    ]
    wrong = []
    for module in modules:
        if module.__name__.startswith("poolwise.upstream"):
            continue
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__:
                continue
            foreign = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in LIBRARIES]
            private = [name for name, value in vars(kind).items() if is_private(name) and is_method(value)]
            wrong += [f"{kind.__qualname__}.{name}" for name in private if any(name in vars(base) for base in foreign)]
    assert wrong == []


def signature_of(found: Any) -> list[inspect.Parameter]:
    if hasattr(found, "default") and hasattr(found.default, "_schema"):  # an operator of torch's
        positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return [inspect.Parameter(argument.name, positional) for argument in found.default._schema.arguments]
    return list(inspect.signature(found).parameters.values())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.place)
def test_each_part_is_as_we_use_it(part: Part) -> None:
    where = f"{part.library} {metadata.version(part.library)}: {part.place}"
    try:
        found = part.found()
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{where} is gone ({error}); poolwise.{part.breaks} breaks")
    if part.parameters is None:
        return
    parameters = signature_of(found)
    positional = [given.name for given in parameters if given.kind is not inspect.Parameter.KEYWORD_ONLY]
    wanted = [name for name in part.parameters if not name.startswith("*")]
    named = {name[1:] for name in part.parameters if name.startswith("*")}
    message = f"{where} takes {[given.name for given in parameters]}, wanted {part.parameters}; {part.breaks} breaks"
    assert positional[: len(wanted)] == wanted, message
    assert named <= {given.name for given in parameters}, message
    if positional[:1] != ["self"] or not inspect.isfunction(found):
        required = {given.name for given in parameters if given.default is given.empty and given.kind < 4}
        variable = {given.name for given in parameters if given.kind in (given.VAR_POSITIONAL, given.VAR_KEYWORD)}
        assert required - variable <= {*wanted, *named}, message


def test_every_private_name_in_upstream_is_checked() -> None:
    checked = {piece for part in PARTS for piece in part.place.replace(":", ".").split(".")} | {"_hf_hook"}
    checked |= {"_ask_processor", "_n_gpu"}  # ours; and what TrainingArguments sets when it is asked for n_gpu
    for path in sources(upstream=True):
        tree = ast.parse(path.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        names |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert {name for name in names if is_private(name) and name.isidentifier()} <= checked, path.name


def test_the_number_of_gpus_is_what_the_private_name_says(tmp_path: Path) -> None:
    from transformers import TrainingArguments

    from poolwise.upstream.transformers import use_one_gpu

    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert arguments.n_gpu == 0
    arguments._n_gpu = 3
    assert arguments.n_gpu == 3
    use_one_gpu(arguments)
    assert arguments.n_gpu == 1


def test_an_adapted_layer_has_what_we_read_of_it() -> None:
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    from poolwise.upstream.peft import LoraLinear

    model = inject_adapter_in_model(LoraConfig(target_modules=["0"]), torch.nn.Sequential(torch.nn.Linear(2, 2)))
    layer = model[0]
    assert isinstance(layer, LoraLinear)
    lacking = [name for name in LORA_ATTRIBUTES.split() if not hasattr(layer, name)]
    assert not lacking, f"peft {metadata.version('peft')}: LoRA layers lack {lacking}; kernels.fused_training breaks"
    for name in ("lora_A", "lora_B", "lora_bias", "lora_dropout", "scaling"):
        assert "default" in getattr(layer, name)
