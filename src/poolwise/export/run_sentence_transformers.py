"""Embeds texts with an export, as a user of sentence-transformers would: FOLDER TEXTS.json OUT.npy.

It is run in a process of its own, without poolwise, after ``code.require_own_code`` has checked what it would run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer


def main() -> None:
    folder, asked, out = map(Path, sys.argv[1:])
    modules = json.loads((folder / "modules.json").read_text())
    # Only poolwise's own file is run: code.require_own_code has compared it byte by byte.
    runs_code = any(not module["type"].startswith("sentence_transformers.") for module in modules)
    model = SentenceTransformer(str(folder), device="cpu", trust_remote_code=runs_code, local_files_only=True)
    probes = json.loads(asked.read_text())
    vectors: list[np.ndarray] = [np.empty(0)] * len(probes)
    for name in {probe["prompt_name"] for probe in probes}:
        places = [place for place, probe in enumerate(probes) if probe["prompt_name"] == name]
        prompt = {"prompt": ""} if name is None else {"prompt_name": name}
        found = model.encode([probes[place]["text"] for place in places], convert_to_numpy=True, **prompt)
        for place, vector in zip(places, found, strict=True):
            vectors[place] = vector
    np.save(out, np.stack(vectors).astype(np.float32))


if __name__ == "__main__":
    main()
