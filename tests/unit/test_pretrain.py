"""The script that trains the embedded base: passages, windows, the schedule, and a run that is cut off and goes on."""

import importlib.util
import json
import random
import signal
from argparse import Namespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from support import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    spec = importlib.util.spec_from_file_location("pretrain_nano", ROOT / "scripts" / "pretrain_nano.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SAVE_SECONDS", 0)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield module
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    sentence = "the state of a token after many layers says which word is next in this text"
    words = sentence.split()
    rng, path = random.Random(0), tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    rows = [
        {"title": f"Article {number}", "text": "\n".join(" ".join(rng.choices(words, k=80)) + "." for _ in range(4))}
        for number in range(60)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def arguments(corpus, out, **changed):
    settings = {"tokens": 4 * 2 * 512, "batch": 2, "hidden": 64, "layers": 2, "lr": 4e-3, "muon_lr": 1e-2, "seed": 0}
    return Namespace(corpus=corpus, out=out, start=None, compile=False, **(settings | changed))


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(script, corpus, tmp_path, monkeypatch):
    script.train(arguments(corpus, tmp_path / "whole"))
    windows = script.windows

    def cut(tokens, num_steps, start, batch):
        for step, ids in enumerate(windows(tokens, num_steps, start, batch), start):
            if step == 2:
                raise KeyboardInterrupt
            yield ids

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(script, "windows", cut)
        script.train(arguments(corpus, tmp_path / "cut"))
    script.train(arguments(corpus, tmp_path / "cut"))
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / name / "model") for name in ("whole", "cut"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    steps = [json.loads(line)["step"] for line in (tmp_path / "cut" / "log.jsonl").open()]
    assert steps == [0, 1, 2, 3]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "cut" / "model")
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    card = (tmp_path / "cut" / "model" / "README.md").read_text()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "cut" / "log.jsonl").open()]
    assert f"{np.mean(losses):.2f} nats a token" in card and "CC BY-SA 3.0" in card and "2 layers, width 64" in card


def test_passages_keep_the_text_and_their_length(script):
    text = "\n".join("A sentence of some length, it is. " * 5 for _ in range(20))
    parts = script.passages(text)
    assert len(parts) > 3 and max(map(len, parts)) <= script.PASSAGE_CHARS
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_title_is_first_or_after_the_first_passage(script):
    article = ("Title", "First passage. " * 60)
    places = {script.documents(article, random.Random(seed)).index("Title") for seed in range(20)}
    assert places == {0, 1}


def test_an_epoch_reads_every_window_once(script):
    tokens = np.arange(20 * 512 + 1, dtype=np.uint16)
    rows = torch.cat(list(script.windows(tokens, 10, 0, 2)))
    assert sorted(rows[:, 0].tolist()) == [512 * number for number in range(20)]


def test_the_rate_warms_up_stays_and_ends_at_zero(script):
    rates = [script.rate(step, 1000) for step in range(1000)]
    assert rates[0] == 0.01 and rates[99] == 1.0 and rates[600] == 1.0
    assert rates[800] == 0.5 and 0 < rates[999] < 0.01
