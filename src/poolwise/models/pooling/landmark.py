"""``landmark``: the mean over landmarks, which the base reads after every N tokens of a text and at its end.

The backbone inserts them and marks them as the pooled tokens. A landmark is EOS. The one after the last chunk is the
EOS that ends every text. Under causal attention a landmark sees the text up to its place.
"""

from __future__ import annotations

from poolwise.models.pooling.mean import MeanPooling


class LandmarkPooling(MeanPooling):
    """The mean over the landmarks' states of the last layer.

    Source: landmark pooling, arXiv:2601.21525. Here all chunks but the last have N tokens. They are counted from the
    start of the text, after the prompt, so that a text has the same chunks under every prompt. The landmark is the
    base's EOS, so that no embedding has to be trained.
    """
