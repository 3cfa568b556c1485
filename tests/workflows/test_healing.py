"""compress --layers, --feedforward and --heal-minutes: smaller runs that learn again what the first one knew."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import gptsmith
from gptsmith.base.cache_folder import default_cache
from gptsmith.base.errors import UserError
from gptsmith.compress.material import Material
from gptsmith.compress.methods import compressed, heal
from gptsmith.convert.load import load
from gptsmith.model.gpt import GPT
from gptsmith.model.linear.grouped import packed_weights
from gptsmith.model.presets import preset
from gptsmith.run.folder import Run
from gptsmith.train.step import StepResult
from gptsmith.train.trainer import Callback, Trainer

from .conftest import write_text

MINUTES = 30.0
"""More than a few epochs take on any machine: they end the healing."""


@pytest.fixture(scope="module")
def pruned(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of a run of half of the layers."""
    return gptsmith.compress(trained["run"], layers=1, out=tmp_path_factory.mktemp("pruned") / "one")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heal, "MOST_EPOCHS", 2)


def healing_folders() -> list[Path]:
    return [path for path in default_cache().iterdir() if "healing" in path.name]


def test_a_pruned_run_is_an_ordinary_one(
    trained: dict[str, Any], pruned: dict[str, Any], call: Callable, tmp_path: Path
) -> None:
    before, after = (gptsmith.load(figures["run"]) for figures in (trained, pruned))
    assert after.config.num_layers == 1
    (kept,) = pruned["kept_layers"]
    assert pruned["layer_influences"][kept] == max(pruned["layer_influences"])
    own, known = after.model.blocks[0].state_dict(), before.model.blocks[kept].state_dict()
    assert all(torch.equal(own[name], known[name]) for name in known)
    assert pruned["num_parameters"] < trained["num_parameters"]
    assert pruned["kl_divergence"] > 0
    assert Run.open(pruned["run"]).lineage()[0].request["methods"] == [{"kind": "prune", "num_layers": 1}]
    for to, name in (("gguf", "model.gguf"), ("huggingface", "")):
        exported = tmp_path / to
        assert call("export", pruned["run"], "--to", to, "--out", exported).code == 0
        again = load(exported / name).model
        ids = torch.tensor([[5, 9, 2]])
        torch.testing.assert_close(again(ids), after.model(ids), rtol=0, atol=2e-3)  # in float16


def test_a_run_can_be_pruned_twice(trained: dict[str, Any], pruned: dict[str, Any], tmp_path: Path) -> None:
    """Its text is still that of the first run, and the lineage says from what it was made."""
    twice = gptsmith.compress(pruned["run"], feedforward=64, to="q8_0", out=tmp_path / "twice")
    assert twice["compared_on"] == "validation text"
    assert twice["made_from"] == pruned["run"]
    assert gptsmith.load(twice["run"]).config.feedforward.hidden_dim == 64
    verbs = [(origin.made_by, origin.request.get("method")) for origin in Run.open(twice["run"]).lineage()]
    assert verbs == [("compress", "64-wide-q8_0"), ("compress", "1-layers"), ("pretrain", None)]


@pytest.mark.parametrize("arguments", [{"layers": 1}, {"to": "q4_0"}], ids=["layers", "q4_0"])
def test_healing_brings_a_model_nearer_to_the_original(
    trained: dict[str, Any], pruned: dict[str, Any], arguments: dict[str, Any], tmp_path: Path
) -> None:
    healed = gptsmith.compress(trained["run"], **arguments, heal_minutes=MINUTES, out=tmp_path / "healed")
    assert healed["kl_divergence"] < 0.8 * healed["kl_divergence_unhealed"]
    assert healed["healing_status"] == "finished"
    assert 0 < healed["healing_best_step"] <= healed["healing_steps"]
    if "layers" in arguments:
        assert healed["kl_divergence_unhealed"] == pytest.approx(pruned["kl_divergence"], rel=1e-4)
    else:
        assert packed_weights(gptsmith.load(healed["run"]).model)
    assert Run.open(healed["run"]).lineage()[0].request["methods"][-1] == {"kind": "heal", "minutes": MINUTES}
    assert healing_folders() == []


class Interrupted(Callback):
    """A person who presses Ctrl-C during the third step."""

    def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
        if trainer.state.step == 3:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no signal to one process")
def test_an_interrupted_healing_keeps_what_it_reached(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    callbacks = heal._callbacks
    monkeypatch.setattr(heal, "_callbacks", lambda: [Interrupted(), *callbacks()])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        stopped = gptsmith.compress(trained["run"], layers=1, heal_minutes=MINUTES, out=tmp_path / "stopped")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (stopped["status"], stopped["healing_status"], stopped["healing_steps"]) == ("compressed", "stopped", 3)
    assert stopped["kl_divergence"] <= stopped["kl_divergence_unhealed"] * 1.001
    assert "stopping after this step: the best weights so far are kept" in capfd.readouterr().err
    assert gptsmith.load(stopped["run"]).config.num_layers == 1
    assert healing_folders() == []


def test_a_healing_that_fails_leaves_nothing(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(Callback):
        def after_step(self, trainer: Trainer, step: StepResult, seconds: float) -> None:
            raise UserError("no room")

    callbacks = heal._callbacks
    monkeypatch.setattr(heal, "_callbacks", lambda: [Fails(), *callbacks()])
    with pytest.raises(UserError, match="no room"):
        gptsmith.compress(trained["run"], layers=1, heal_minutes=MINUTES, out=tmp_path / "failed")
    assert list(tmp_path.iterdir()) == healing_folders() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say how to make it smaller, by"),
        (["--heal-minutes", 1], "--heal-minutes alone makes nothing smaller"),
        (["--layers", 2], "--layers 2: this model has 2, so from 1 to 1 can stay"),
        (["--layers", 0], "--layers"),
        (["--layers", 1, "--heal-minutes", 0], "--heal-minutes"),
        (["--layers", 1, "--heal-minutes", -3], "--heal-minutes"),
        (["--layers", 1, "--heal-minutes", 0.0001], "--heal-minutes 0.0001 is too short to heal this model here"),
        (["--to", "int8", "--heal-minutes", 1], "weights of the kind int8 cannot be healed"),
        (["--to", "prune"], "no such compression"),
        (["--to", "heal"], "no such compression"),
    ],
)
def test_what_makes_no_sense_is_refused(
    trained: dict[str, Any], arguments: list[object], says: str, call: Callable, tmp_path: Path
) -> None:
    outcome = call("compress", trained["run"], *arguments, "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_healing_asks_for_the_training_text(trained: dict[str, Any], call: Callable, tmp_path: Path) -> None:
    run = shutil.copytree(trained["run"], tmp_path / "moved")
    settings = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(settings.replace("smiths", "gone"), encoding="utf-8")
    (run / "paths.json").unlink()
    outcome = call("compress", run, "--layers", 1, "--heal-minutes", 1)
    assert outcome.code == 2
    assert "--heal-minutes needs text, by --text, or what" in outcome.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    given = write_text(tmp_path / "given")
    healed = gptsmith.compress(run, layers=1, heal_minutes=MINUTES, text=[given], out=tmp_path / "healed")
    assert healed["healing_steps"] > 0
    assert healed["compared_on"] == "text that was given"


def test_a_classifier_is_not_healed_by_words() -> None:
    model = GPT(preset("smith", num_layers=1, embed_dim=64, vocab_size=30, num_heads=2, num_labels=2))
    material = SimpleNamespace(run=SimpleNamespace(folder=Path("runs/spam"), config=model.config), original=model)
    with pytest.raises(UserError, match="runs/spam predicts labels or rewards"):
        compressed(model, [heal.HealMethodSettings()], cast(Material, material))
