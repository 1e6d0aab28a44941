"""Models that others published, as poolwise models: layouts, adapters, heads. Code in their folders is never run."""

from poolwise.imports.build import Imported, import_model
from poolwise.imports.layouts import FORMATS, Format

__all__ = ["FORMATS", "Format", "Imported", "import_model"]
