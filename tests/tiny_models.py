"""Tiny random decoders with small real tokenizers, one per family, written to a folder like any base."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

FAMILIES = ("llama", "qwen3", "mistral", "gpt2", "gpt_neox")
HIDDEN, NUM_LAYERS, POSITIONS = 32, 3, 64
TEXTS = (
    "a dog runs",
    "the old man plays a guitar in the park and sings",
    "stocks fell",
    "how do i sort a list of words by length in the shell",
)
_MORE = ("search", "query", "document", ":", ",", ".", "one", "two")
WORDS = sorted({word for text in TEXTS for word in text.split()}.union(_MORE))

# What a family's tokenizer is like: does a template put BOS in front, and is the padding token EOS itself?
_WORD_LEVEL = {"llama", "qwen3", "mistral"}
HAS_BOS = {"llama", "mistral", "gpt_neox"}
PAD_IS_EOS = {"qwen3", "gpt2"}


def tiny_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with BOS, EOS and a padding token, which for some families is EOS."""
    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    if family in _WORD_LEVEL:
        vocabulary = {token: i for i, token in enumerate(special + WORDS)}
        core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        core.train_from_iterator([*TEXTS, *WORDS], trainer)
    if family in HAS_BOS:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    pad = "<eos>" if family in PAD_IS_EOS else "<pad>"
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token=pad, unk_token="<unk>"
    )


def save_tiny_base(folder: Path, family: str, *, with_head: bool = False, **settings: object) -> str:
    """Write a base of ``family`` with 3 layers of width 32 into ``folder`` and return its name.

    Args:
        with_head: save the LM head as well, as published bases do.
        settings: of the configuration, beside or instead of the usual ones.
    """
    tokenizer = tiny_tokenizer(family)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=tokenizer.pad_token_id,
        # Large weights, so that attention and positions matter as they do in a trained model.
        initializer_range=0.2,
    )
    if hasattr(config, "num_key_value_heads"):
        config.num_key_value_heads = 2
    if hasattr(config, "head_dim"):
        config.head_dim = 8
    if family == "gptj":
        config.rotary_dim = 4
    if family not in ("gpt2", "gptj", "bloom"):
        config.intermediate_size = 48
    state = torch.get_rng_state()
    torch.manual_seed(7)
    for name, value in settings.items():
        setattr(config, name, value)
    (AutoModelForCausalLM if with_head else AutoModel).from_config(config).save_pretrained(folder)
    torch.set_rng_state(state)
    tokenizer.save_pretrained(folder)
    return str(folder)
