"""``IndexRetriever``: an index as a retriever of LangChain. It needs the extra langchain.

Read in langchain-core 1.7.2.
"""

from __future__ import annotations

from typing import Any

from poolwise.errors import needs_extra
from poolwise.search.index import Index
from poolwise.search.texts import require_texts

with needs_extra("this", "langchain"):
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever


class IndexRetriever(BaseRetriever):
    """Returns the best rows of an index for a query, as documents: id, text, and the stored fields as metadata.

    The metadata has the ``score`` too. Of a chunk, ``document``, ``start_char`` and ``end_char`` lead back.

    Args:
        index: open for searches, of a corpus that stores its texts.
        k: how many rows.
        where: conditions on stored fields, as ``Index.search`` takes them.
    Raises: ConfigError where the index stores no texts.
    """

    index: Index
    k: int = 10
    where: Any = None

    def model_post_init(self, context: Any) -> None:
        """Check the index."""
        require_texts(self.index)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        (hits,) = self.index.search([query], self.k, where=self.where)
        return [Document(hit.text, id=hit.id, metadata={"score": hit.score, **hit.fields}) for hit in hits]
