"""A checkpoint is used only when it is complete and on disk; the previous one is deleted after that."""

import os
from pathlib import Path

from poolwise.training.checkpoints import publish


def test_a_checkpoint_is_on_the_disk_before_the_older_one_goes(tmp_path, monkeypatch):
    older, aside = tmp_path / "checkpoint-1", tmp_path / "partial" / "checkpoint-2"
    for folder in (older, aside):
        folder.mkdir(parents=True)
        (folder / "trained.safetensors").write_text(folder.name)
        (folder / "trained.safetensors").chmod(0o600)  # as safetensors does
    flushed = []

    def flush(number):
        path = Path(f"/proc/self/fd/{number}").readlink()
        if path.is_file():
            flushed.append((path.relative_to(tmp_path).parts[0], path.name, older.is_dir()))

    monkeypatch.setattr(os, "fsync", flush)
    publish(aside, tmp_path)
    assert sorted(flushed) == [("partial", "files.json", True), ("partial", "trained.safetensors", True)]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    (tmp_path / "usual").touch()
    files = [*(tmp_path / "checkpoint-2").iterdir(), tmp_path / "usual"]
    assert len({path.stat().st_mode for path in files}) == 1
