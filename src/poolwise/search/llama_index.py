"""``IndexRetriever``: an index as a retriever of LlamaIndex. It needs the extra llama-index.

Read in llama-index-core 0.14.25.
"""

from __future__ import annotations

import asyncio
from typing import Any

from poolwise.errors import needs_extra
from poolwise.search.index import Hit, Index
from poolwise.search.texts import require_texts
from poolwise.search.where import Where

with needs_extra("this", "llama-index"):
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode


class IndexRetriever(BaseRetriever):
    """Returns the best rows of an index for a query, as nodes: id, text, and the stored fields as metadata.

    The source of a chunk's node is its document, and ``start_char_idx`` and ``end_char_idx`` are its place there.

    Args:
        index: open for searches, of a corpus that stores its texts.
        k: how many rows.
        where: conditions on stored fields, as ``Index.search`` takes them.
        options: of LlamaIndex's retrievers, such as ``callback_manager``.
    Raises: ConfigError where the index stores no texts.
    """

    def __init__(self, index: Index, k: int = 10, where: Where | None = None, **options: Any) -> None:
        require_texts(index)
        self._index, self._k, self._where = index, k, where
        super().__init__(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        (hits,) = self._index.search([query_bundle.query_str], self._k, where=self._where)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _node(hit: Hit) -> TextNode:
    document = hit.fields.get("document")
    sources = {} if document is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(
        id_=hit.id,
        text=hit.text or "",
        metadata=dict(hit.fields),
        relationships=sources,
        start_char_idx=hit.fields.get("start_char"),
        end_char_idx=hit.fields.get("end_char"),
    )
