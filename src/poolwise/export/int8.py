"""int8 weights for an exported graph, by onnxruntime's dynamic quantisation, and how far they move embeddings.

Weights are rounded once; activations are rounded in every call, with one scale for the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from onnxruntime.quantization import QuantType, quantize_dynamic
from scipy.stats import spearmanr

from poolwise.errors import ModelError
from poolwise.export.golden import ProbeText, unit
from poolwise.export.quiet import quiet
from poolwise.export.run_onnx import Encoder, embed

LARGEST_DISTANCE, LEAST_AGREEMENT = 0.02, 0.98
"""Beyond these an export is refused. ``mean+bidirectional`` on ``poolwise/nano`` has 0.0007 and 0.9995."""


@dataclass(frozen=True)
class Drift:
    """How int8 changes the embeddings of a probe set.

    Args:
        difference: the largest absolute difference of a text's unit vector to that in fp32.
        distance: the largest cosine distance of a text to its embedding in fp32.
        agreement: Spearman's correlation of the similarities of all pairs of texts, in int8 and in fp32.
        batch_distance: the largest cosine distance of a text alone to the same text in a batch of all texts.
    """

    difference: float
    distance: float
    agreement: float
    batch_distance: float


def quantise(folder: Path, probes: list[ProbeText], exact: Float[np.ndarray, "N D"], *, is_large: bool) -> Drift:
    """Replace the graph in a folder by one with int8 matrices, and return how far its embeddings moved.

    Args:
        exact: unit vectors of the probe set in fp32.
        is_large: the weights need a file of their own.
    """
    texts = [{"text": probe.text, "prompt_name": probe.prompt_name} for probe in probes]
    graph, rounded = folder / "model.onnx", folder / "int8.onnx"
    with quiet():
        quantize_dynamic(
            graph,
            rounded,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            # 8 bits saturate on CPUs without VNNI, so that the same file gives other embeddings there.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=is_large,
        )
    graph.with_name("model.onnx.data").unlink(missing_ok=True)
    rounded.replace(graph)
    encoder = Encoder(str(folder))
    alone, together = (embed(encoder, texts, batch_size=size) for size in (1, len(texts)))
    return measure_drift(exact, unit(alone), unit(together))


def measure_drift(
    exact: Float[np.ndarray, "N D"], alone: Float[np.ndarray, "N D"], together: Float[np.ndarray, "N D"]
) -> Drift:
    """Return the drift of unit vectors: of each text in fp32, in int8 alone, and in int8 in a batch of all."""
    pairs = np.triu_indices(len(exact), 1)
    ranks = spearmanr((exact @ exact.T)[pairs], (alone @ alone.T)[pairs])
    return Drift(
        difference=float(np.abs(exact - alone).max()),
        distance=_largest_distance(exact, alone),
        agreement=float(ranks.statistic),
        batch_distance=_largest_distance(alone, together),
    )


def _largest_distance(left: Float[np.ndarray, "N D"], right: Float[np.ndarray, "N D"]) -> float:
    return float((1 - (left.astype(np.float64) * right).sum(axis=1)).max())


def require_close(drift: Drift) -> None:
    """Raise ModelError where int8 changes embeddings beyond the limits."""
    if drift.distance <= LARGEST_DISTANCE and drift.agreement >= LEAST_AGREEMENT:
        return
    raise ModelError(
        f"int8 moves an embedding by a cosine distance of {drift.distance:.3f}, and similarities agree in rank by "
        f"{drift.agreement:.3f}",
        f"wanted at most {LARGEST_DISTANCE} and at least {LEAST_AGREEMENT}",
        "export in fp32",
    )
