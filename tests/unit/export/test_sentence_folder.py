"""The files of the target ``sentence-transformers`` that other programs read."""

from __future__ import annotations

import json

import pytest
from sentence_transformers import SentenceTransformer

from poolwise.export import sentence_folder
from tiny_models import save_tiny_base
from toy_exports import PROMPTS, moved_model


def written(tmp_path, design):
    model = moved_model(design, save_tiny_base(tmp_path / "base", "llama"))
    (folder := tmp_path / "export").mkdir()
    sentence_folder.write(model, folder, options={})
    return folder


def read(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("design", "mode", "old"),
    [
        ("last+causal", "lasttoken", "pooling_mode_lasttoken"),
        ("mean+bidirectional", "mean", "pooling_mode_mean_tokens"),
        ("weighted_mean+causal", "weightedmean", "pooling_mode_weightedmean_tokens"),
    ],
)
def test_new_and_old_keys_of_the_pooling(tmp_path, design, mode, old) -> None:
    config = read(written(tmp_path, design) / "1_Pooling" / "config.json")
    assert config["pooling_mode"] == mode
    assert config["word_embedding_dimension"] == 32
    assert [key for key, value in config.items() if key.startswith("pooling_mode_") and value] == [old]


def test_settings_of_a_stock_folder(tmp_path) -> None:
    folder = written(tmp_path, "mean(dim=8)+bidirectional")
    assert [module["path"] for module in read(folder / "modules.json")] == ["", "1_Pooling", "2_Dense", "3_Normalize"]
    settings = read(folder / "config_sentence_transformers.json")
    assert settings["prompts"] == PROMPTS
    assert settings["requirements"]["transformers"]["specifier"] == ">=5.2"
    assert read(folder / "sentence_bert_config.json")["max_seq_length"] == 24


def test_causal_models_ask_for_no_version(tmp_path) -> None:
    assert "requirements" not in read(written(tmp_path, "last+causal") / "config_sentence_transformers.json")


def test_without_the_flag_the_bundled_code_is_not_run(tmp_path) -> None:
    folder = written(tmp_path, "latent+bidirectional")
    with pytest.raises(Exception, match="trust_remote_code"):
        SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)


def test_length_and_prompts_are_the_models(tmp_path) -> None:
    for number, design in enumerate(("mean+causal", "latent+causal")):
        (tmp_path / str(number)).mkdir()
        folder = written(tmp_path / str(number), design)
        loaded = SentenceTransformer(str(folder), device="cpu", trust_remote_code=number == 1)
        assert loaded.max_seq_length == 24
        assert {name: loaded.prompts[name] for name in PROMPTS} == PROMPTS
