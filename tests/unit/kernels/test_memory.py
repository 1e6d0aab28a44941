"""Memory of encoding: what other models do when it runs out, and what texts of many lengths leave behind."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from memory_in_use import memory_in_use
from poolwise.encoding.encoder import ModelEncoder
from poolwise.kernels.memory import encode_with_less
from poolwise.kernels.precision import has_fast_bf16
from support import ROOT


def test_half_as_many_texts_are_tried_until_they_fit_and_other_errors_pass() -> None:
    tried = []

    def encode(batch_size: int, largest: int = 3) -> str:
        tried.append(batch_size)
        if batch_size > largest:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return "embeddings"

    assert encode_with_less(encode, 16) == "embeddings" and tried == [16, 8, 4, 2]
    with pytest.raises(RuntimeError, match="not enough memory"):
        encode_with_less(lambda batch_size: encode(batch_size, largest=0), 4)
    with pytest.raises(RuntimeError, match="shapes"):
        encode_with_less(lambda _: (_ for _ in ()).throw(RuntimeError("shapes do not match")), 4)


def test_an_evaluation_goes_on_with_smaller_batches() -> None:
    class Small:
        sizes: list[int] = []  # noqa: RUF012

        def encode(self, texts, *, batch_size, **_):
            self.sizes.append(batch_size)
            if batch_size > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return torch.tensor([[len(text), 1.0] for text in texts]).numpy()

    assert ModelEncoder(Small(), batch_size=8).encode(["a", "bbb"], "").tolist() == [[1, 1], [3, 1]]
    assert Small.sizes == [8, 4, 2]


@pytest.mark.skipif(
    not has_fast_bf16("cpu"), reason="fp32 products keep nothing for a shape, and bf16 ones take minutes"
)
def test_texts_of_many_lengths_leave_little_memory_behind():
    """In a process of its own, because the library reads how much it may keep once."""
    memory_in_use()  # or skip, which the other process cannot
    code = """
        import random
        import poolwise
        from memory_in_use import memory_in_use

        draw, model = random.Random(0), poolwise.build_model("mean+causal", "poolwise/nano", precision="bf16")
        model.encode(["a dog", "a cat in a tree"])
        before = memory_in_use()
        for _ in range(60):
            words = [draw.choices("abcdefghij", k=draw.randint(1, 40)) for _ in range(draw.randint(1, 64))]
            model.encode([" ".join(text) for text in words], batch_size=64)
        print(memory_in_use() - before)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "tests")},
    )
    assert float(found.stdout) < 100, found.stderr
