"""An export to ONNX, run by the code of its README in onnxruntime, against ``model.encode``: same texts, one process.

python benchmarks/exports.py

In fp32 both read batches; in int8 the export reads one text at a time, as its README says, and once in batches.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from _measure import paired_seconds, record
from encoding import sample

from poolwise.export import onnx
from poolwise.export.run_onnx import Encoder
from poolwise.models import build_model

DESIGNS = ("mean+bidirectional", "multilayer+bidirectional")
NUM_TOKENS = 5_000
LEAST_COSINE = {"fp32": 0.99999, "int8": 0.9}


def main() -> None:
    for design in DESIGNS:
        model = build_model(design, "poolwise/nano", max_tokens=512, precision="fp32", device="cpu").eval()
        texts, num_tokens = sample(model, NUM_TOKENS)
        vectors = model.encode(texts)
        for weights, sizes in (("fp32", (32,)), ("int8", (1, 32))):
            with tempfile.TemporaryDirectory() as folder:
                onnx.write(model, Path(folder), options={"int8": weights == "int8"})
                encoder = Encoder(folder)
                for size in sizes:
                    cosine = float((encoder.encode(texts, batch_size=size) * vectors).sum(axis=1).min())
                    assert cosine > LEAST_COSINE[weights], f"{design} {weights}: cosine {cosine}"
                    pairs = paired_seconds(
                        lambda m=model, t=texts: m.encode(t),
                        lambda e=encoder, t=texts, s=size: e.encode(t, batch_size=s),
                    )
                    record(
                        f"onnxruntime {weights} in batches of {size}, {design}",
                        [encode / export for encode, export in pairs],
                        texts=len(texts),
                        tokens=num_tokens,
                        least_cosine=float(np.float32(cosine)),
                    )


if __name__ == "__main__":
    main()
