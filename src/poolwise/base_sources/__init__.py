"""Bases that are not yet a Hugging Face folder: GGUF files and a package that holds one; found, fetched and cached."""
