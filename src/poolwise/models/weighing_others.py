"""What the pooling of any other sentence-transformers model weighs in a text, measured."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from poolwise.errors import ModelError
from poolwise.models.pooling.occlusion import MOST_NUMBERS, weights_of_moves
from poolwise.models.weighed import PoolingWeights, Role, WeighedToken, characters


@torch.inference_mode()
def weigh_other(model: SentenceTransformer, text: str, prompt: str) -> PoolingWeights:
    """Return how far the embedding of a text moves without each token that the model's pooling reads.

    Raises: ModelError if the first module returns no token states.
    """
    given = model.preprocess([text], **({"prompt": prompt} if prompt else {}))
    on_device = {name: x.to(model.device) if isinstance(x, Tensor) else x for name, x in given.items()}
    first, *others = list(model)
    read = first(on_device)
    states, mask = read.get("token_embeddings"), read.get("attention_mask")
    if states is None or mask is None or states.shape[:2] != mask.shape:
        raise ModelError(
            f"the weights of {type(first).__name__} are not known", "wanted a model whose first module returns tokens"
        )
    real = mask[0].bool()
    pooled = real & (mask[0].cumsum(dim=0) > _num_skipped(others, read))

    def leave_out(_: int, places: Tensor) -> tuple[Tensor, Tensor]:
        return _each_left_out(others, states[0, places])

    weights = weights_of_moves(pooled[None], leave_out)[0][real].double().tolist()
    pieces, is_truncated = _pieces(model, given["input_ids"][0][real.cpu()].tolist(), text, prompt)
    tokens = tuple(WeighedToken(*piece, weight) for piece, weight in zip(pieces, weights, strict=True))
    return PoolingWeights(tokens, "measured", (), None, is_truncated)


def _num_skipped(modules: list[nn.Module], features: dict[str, Any]) -> int:
    """Return how many tokens of the prompt the pooling leaves out."""
    is_kept = all(getattr(module, "include_prompt", True) for module in modules)
    return 0 if is_kept else int(torch.as_tensor(features.get("prompt_length", 0)).flatten()[0])


def _each_left_out(modules: list[nn.Module], states: Float[Tensor, "N D"]) -> tuple[Tensor, Tensor]:
    """Return the embedding of some tokens, and those without each of them.

    A token is taken away, not masked: poolings of others may read a place whatever its mask.
    """
    num_tokens, dim = states.shape
    places = torch.arange(num_tokens, device=states.device)
    kept = places.expand(num_tokens, -1)[~torch.eye(num_tokens, dtype=torch.bool, device=states.device)]
    rows = kept.view(num_tokens, num_tokens - 1).split(max(1, MOST_NUMBERS // (num_tokens * dim)))
    return _embed(modules, states[None]), torch.cat([_embed(modules, states[part]) for part in rows])


def _embed(modules: list[nn.Module], states: Float[Tensor, "B T D"]) -> Float[Tensor, "B W"]:
    mask = torch.ones(states.shape[:2], dtype=torch.long, device=states.device)
    features: dict[str, Any] = {"token_embeddings": states, "attention_mask": mask}
    for module in modules:
        features = module(features)
    found: Tensor = features["sentence_embedding"]
    return found


def _pieces(model: SentenceTransformer, ids: list[int], text: str, prompt: str) -> tuple[list[tuple[str, Role]], bool]:
    """Return the characters and the role of each id, and whether the text was truncated."""
    tokenizer = model.tokenizer
    special = set(tokenizer.all_special_ids)
    content = [place for place, one in enumerate(ids) if one not in special]
    shown, ends = characters(tokenizer, prompt + text)
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(ids)]
    pieces: list[tuple[str, Role]] = []
    number = 0
    for place, one in enumerate(ids):
        if one in special:
            pieces.append((names[place], "start" if not content or place < content[0] else "end"))
            continue
        # A tokenizer may read a text in another way with special tokens; its own name then stands for the token.
        piece, end = (shown[number], ends[number]) if number < len(shown) else (names[place], len(prompt) + 1)
        pieces.append((piece, "prompt" if end <= len(prompt) else "text"))
        number += 1
    return pieces, len(content) < len(shown)
