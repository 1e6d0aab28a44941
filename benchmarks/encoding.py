"""Encoding with a trained model as it comes from training, against the same model prepared for encoding.

python benchmarks/encoding.py
"""

from __future__ import annotations

import numpy as np
import torch
from _measure import paired_ratios, record

from poolwise.data import load_source
from poolwise.modules import build_model, prepare_encoding

NUM_TEXTS, BATCH_SIZE = 512, 32


def main() -> None:
    texts = [triple.positive for triple in load_source("poolwise/pydoc").triples[:NUM_TEXTS]]
    for design in ("last+causal", "multilayer+bidirectional"):
        plain, prepared = (build_model(design, "poolwise/nano", max_tokens=64).eval() for _ in range(2))
        prepare_encoding(prepared)
        cosine = np.einsum("nd,nd->n", plain.encode(texts), prepared.encode(texts)).min()
        assert cosine > 0.999, f"the two encode differently: cosine {cosine}"
        ratios = paired_ratios(
            lambda model=plain: model.encode(texts, batch_size=BATCH_SIZE),
            lambda model=prepared: model.encode(texts, batch_size=BATCH_SIZE),
        )
        record(f"encoding prepared {design}", ratios, texts=NUM_TEXTS, batch=BATCH_SIZE, worst_cosine=float(cosine))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
