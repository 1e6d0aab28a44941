"""Encoding by other models when memory runs out: half as many texts at a time, or the error."""

import pytest
import torch

from poolwise.encoding.encoder import ModelEncoder
from poolwise.kernels.memory import encode_with_less


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
