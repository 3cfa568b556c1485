"""Runs in stores: uploaded whole or not at all, opened at the newest checkpoint that verifies."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import CheckpointError, UserError
from gptsmith.run import mirror as mirrors
from gptsmith.run.checkpoint import (
    CHECKPOINTS,
    FROZEN,
    FROZEN_WEIGHTS,
    MANIFEST,
    Checkpoint,
    Retention,
    file_record,
    list_checkpoints,
    publish_checkpoint,
)
from gptsmith.run.folder import PRIVATE_KEY, RESULT, SETTINGS
from gptsmith.run.mirror import Mirror
from gptsmith.run.remote import from_store, trained_for_store, waits_for_upload
from gptsmith.store.lock import LockedError, LostLockError, StoreLock
from gptsmith.store.objects import Store, StoreError


class Killed(BaseException):
    """A process that was killed, as far as the store can see."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirrors, "LAST_PAUSES_S", (0, 0))
    return Store(f"memory://{uuid.uuid4().hex}/runs/mine")


def begin(folder: Path) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / SETTINGS).write_text("format_version = 1\n", encoding="utf-8")
    (folder / "metrics.jsonl").write_text("{}\n", encoding="utf-8")


def save(
    folder: Path,
    step: int,
    *,
    best_step: int | None = None,
    content: str = "weights",
    frozen: dict[str, Any] | None = None,
) -> Checkpoint:
    """Publishes a checkpoint, and keeps two."""

    def fill(new: Path) -> None:
        (new / "model.safetensors").write_text(f"{content} {step}", encoding="utf-8")
        (new / "optimizer.safetensors").write_text(f"moments {step}", encoding="utf-8")
        state = {"step": step, "best_step": best_step}
        (new / "train_state.json").write_text(json.dumps(state), encoding="utf-8")
        (new / "settings.json").write_text('{"checkpoint": {"keep": 2}}', encoding="utf-8")
        if frozen is not None:
            (new / FROZEN).write_text(json.dumps(frozen), encoding="utf-8")

    checkpoint = publish_checkpoint(folder / CHECKPOINTS, step, fill)
    Retention(2).apply(folder / CHECKPOINTS, best_step)
    return checkpoint


def end(folder: Path, step: int) -> None:
    (folder / RESULT).write_text(json.dumps({"status": "finished", "step": step}), encoding="utf-8")


def opened(store: Store) -> tuple[Path, list[int]]:
    """The folder of a run, fetched, and the steps of its checkpoints, all of which are whole."""
    folder = from_store(store.url)
    assert folder is not None
    checkpoints = list_checkpoints(folder / CHECKPOINTS)
    assert [one.problem() for one in checkpoints] == [None] * len(checkpoints)
    return folder, [one.step for one in checkpoints]


def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From now on this is another machine."""
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / uuid.uuid4().hex))


def stored_steps(store: Store) -> list[int]:
    return [int(name.split("/")[1][5:]) for name in store.names(CHECKPOINTS) if name.endswith(MANIFEST)]


def trained(store: Store, *steps: int) -> None:
    """A run in the store that was stopped after these checkpoints."""
    with trained_for_store(store.url) as folder:
        begin(folder)
        for step in steps:
            save(folder, step)


def test_a_run_comes_back_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        (folder / PRIVATE_KEY).write_bytes(b"secret")
        save(folder, 10)
        save(folder, 20)
        end(folder, 20)
    assert not folder.exists()
    here = {path.name for path in opened(store)[0].iterdir()} - {PRIVATE_KEY}
    elsewhere(monkeypatch, tmp_path)
    there, steps = opened(store)
    assert (
        {path.name for path in there.iterdir()}
        == {SETTINGS, "metrics.jsonl", RESULT, CHECKPOINTS}
        == here - {PRIVATE_KEY}
    )
    assert steps == [20]
    assert (there / CHECKPOINTS / "step-000000020" / "model.safetensors").read_text(encoding="utf-8") == "weights 20"
    assert there.stat().st_mode & 0o077 == 0
    assert there.parent.stat().st_mode & 0o077 == 0


def test_what_is_there_is_not_fetched_again(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained(store, 10)
    elsewhere(monkeypatch, tmp_path)
    opened(store)
    fetched: list[str] = []
    download = Store.download
    monkeypatch.setattr(Store, "download", lambda self, name, path: (fetched.append(name), download(self, name, path)))
    opened(store)
    assert not [name for name in fetched if name.endswith(".safetensors")]


def test_frozen_weights_of_another_run_that_was_there_before_are_fetched_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for content in ("those of the first", "of the second run"):
        with monkeypatch.context() as patch:
            elsewhere(patch, tmp_path)
            for name in store.names():
                store.delete(name)
            with trained_for_store(store.url) as folder:
                begin(folder)
                frozen = folder / CHECKPOINTS / FROZEN_WEIGHTS
                frozen.parent.mkdir()
                frozen.write_text(content, encoding="utf-8")
                save(folder, 10, frozen=file_record(frozen))
        assert (opened(store)[0] / CHECKPOINTS / FROZEN_WEIGHTS).read_text(encoding="utf-8") == content


def test_the_store_keeps_what_retention_keeps(store: Store) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        mirror = Mirror(folder, store, _lock_of(store))
        for step in (10, 20, 30, 40):
            save(folder, step, best_step=10)
            mirror.upload()
            assert stored_steps(store) == sorted(one.step for one in list_checkpoints(folder / CHECKPOINTS))
    assert stored_steps(store) == [10, 30, 40]


def test_a_step_that_is_trained_anew_replaces_the_old_one(store: Store) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        mirror = Mirror(folder, store, _lock_of(store))
        for step in (10, 20, 30):
            save(folder, step)
            mirror.upload()
        for step in (20, 30):  # as after a roll-back
            (folder / CHECKPOINTS / f"step-{step:09d}").rename(folder / CHECKPOINTS / f".bad-step-{step:09d}")
        save(folder, 20, content="other weights")
        mirror.upload()
        assert stored_steps(store) == [20]
    assert b"other weights 20" in store.read("checkpoints/step-000000020/model.safetensors")


def test_killed_after_any_write_the_store_opens_at_a_whole_checkpoint(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every prefix of the changes of an upload is tried, on the way from the second to the third checkpoint."""
    folder, whole = tmp_path / "run", {name: getattr(Store, name) for name in ("upload", "write", "delete")}
    seen = []
    for number in range(100):
        here = Store(f"{store.url}-{number}")
        begin(folder)
        lock = StoreLock(here)
        lock.acquire()
        mirror = Mirror(folder, here, lock)
        for step in (10, 20):
            save(folder, step)
        mirror.upload()
        save(folder, 30)
        left = number

        def counted(name: str) -> Callable[..., Any]:
            def act(self: Store, *arguments: Any) -> Any:
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                return whole[name](self, *arguments)

            return act

        with monkeypatch.context() as patch:
            for name in whole:
                patch.setattr(Store, name, counted(name))
            try:
                mirror.upload()
                is_killed = False
            except Killed:
                is_killed = True
        elsewhere(monkeypatch, tmp_path)
        seen.append(max(opened(here)[1]))
        for checkpoint in list_checkpoints(folder / CHECKPOINTS):
            (checkpoint.folder).rename(tmp_path / uuid.uuid4().hex)
        if not is_killed:
            break
    assert seen == sorted(seen)
    assert set(seen) <= {10, 20, 30}
    assert seen[-1] == 30
    assert len(seen) > 8


@pytest.mark.parametrize("damage", ["torn manifest", "empty manifest", "flipped bit", "shorter", "missing", "outside"])
def test_a_damaged_checkpoint_is_set_aside_loudly_for_the_next_older(
    damage: str, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(store, 10, 20)
    spoil(store, "checkpoints/step-000000020", damage)
    elsewhere(monkeypatch, tmp_path)
    assert opened(store)[1] == [10]
    assert f"step-000000020 of {store.url} is skipped: " in " ".join(capfd.readouterr().err.split())
    assert list(tmp_path.rglob("outside")) == []
    elsewhere(monkeypatch, tmp_path)
    with trained_for_store(store.url) as folder:
        assert [one.step for one in list_checkpoints(folder / CHECKPOINTS)] == [10]
        assert f"step-000000020 of {store.url} is set aside: " in " ".join(capfd.readouterr().err.split())
        assert stored_steps(store) == [10]
        save(folder, 20)  # the same bits: trained again
    assert stored_steps(store) == [10, 20]
    elsewhere(monkeypatch, tmp_path)
    assert opened(store)[1] == [20]


def spoil(store: Store, name: str, damage: str) -> None:
    manifest, weights = f"{name}/{MANIFEST}", f"{name}/model.safetensors"
    content, bits = store.read(manifest), bytearray(store.read(weights))
    if damage == "torn manifest":
        store.write(manifest, content[: len(content) // 2])
    elif damage == "empty manifest":
        store.write(manifest, b"")
    elif damage == "outside":
        table = json.loads(content)
        table["files"]["../../../outside"] = {"bytes": 0, "sha256": ""}
        store.write(manifest, json.dumps(table).encode())
    elif damage == "flipped bit":
        bits[3] ^= 1
        store.write(weights, bytes(bits))
    elif damage == "shorter":
        store.write(weights, bytes(bits[:-1]))
    else:
        store.delete(weights)


def test_a_run_without_a_whole_checkpoint_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained(store, 10, 20)
    for step in (10, 20):
        spoil(store, f"checkpoints/step-{step:09d}", "flipped bit")
    elsewhere(monkeypatch, tmp_path)
    with pytest.raises(CheckpointError, match=r"has no checkpoint that can be read \(2 damaged\)"):
        from_store(store.url)


def test_no_run_and_something_else_are_refused(store: Store) -> None:
    with pytest.raises(CheckpointError, match="there is no such run"):
        from_store(store.url)
    store.write("notes.txt", b"")
    with pytest.raises(CheckpointError, match=r"is no run: it holds no run\.toml"):
        from_store(store.url)
    with pytest.raises(CheckpointError, match="is no run"), trained_for_store(store.url):
        pass
    store.write(SETTINGS, b"")
    store.write("a/..\\b", b"")
    with pytest.raises(CheckpointError, match="which is no name of a file"):
        from_store(store.url)


def test_two_writers_at_once_are_one(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        elsewhere(monkeypatch, tmp_path)
        with pytest.raises(LockedError, match="is being written by"), trained_for_store(store.url):
            pass


def test_the_same_machine_goes_on_with_what_was_not_uploaded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Mirror) -> None:
        raise StoreError("no way")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "upload", refuse)
        with pytest.raises(StoreError, match=r"no way\. What is not in memory://.* yet \(step-000000010, .* is in"):
            trained(store, 10)
    assert stored_steps(store) == []
    assert waits_for_upload(store.url) is None
    with trained_for_store(store.url) as folder:
        assert [one.step for one in list_checkpoints(folder / CHECKPOINTS)] == [10]
        end(folder, 10)
        assert waits_for_upload(store.url) == folder
    assert stored_steps(store) == [10]
    assert waits_for_upload(store.url) is None


def test_what_was_not_uploaded_survives_failures_on_the_way_to_the_next_try(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire, names = StoreLock.acquire, Store.names

    def fail(self: Mirror) -> None:
        raise StoreError("no way")

    def names_of_locks(self: Store, under: str = "") -> list[str]:
        if not under:
            raise StoreError("no way")
        return names(self, under)

    def acquire_as_the_network_ends(self: StoreLock) -> int:
        last = acquire(self)
        patch.setattr(Store, "names", names_of_locks)
        return last

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "upload", fail)
        with pytest.raises(StoreError):
            trained(store, 10)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Mirror, "upload", fail)
            patch.setattr(StoreLock, "acquire", acquire_as_the_network_ends)
            with pytest.raises(StoreError), trained_for_store(store.url):
                pass
    with trained_for_store(store.url) as folder:
        assert [one.step for one in list_checkpoints(folder / CHECKPOINTS)] == [10]
    assert stored_steps(store) == [10]


def test_a_damaged_best_checkpoint_does_not_keep_the_newest_from_being_resumed(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        for step in (10, 20, 30):
            save(folder, step, best_step=10)
    assert stored_steps(store) == [10, 20, 30]
    spoil(store, "checkpoints/step-000000010", "flipped bit")
    elsewhere(monkeypatch, tmp_path)
    with trained_for_store(store.url) as folder:
        assert [one.step for one in list_checkpoints(folder / CHECKPOINTS)] == [30]


def test_a_checkpoint_that_is_trained_anew_while_it_is_pinned_is_not_uploaded_in_parts_of_both(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, lock = tmp_path / "run", StoreLock(store)
    lock.acquire()
    begin(folder)
    save(folder, 10)
    link, linked = mirrors._link, []

    def link_and_train(path: Path, target: Path) -> None:
        link(path, target)
        linked.append(path)
        if len(linked) == 2:
            save(folder, 10, content="other")

    monkeypatch.setattr(mirrors, "_link", link_and_train)
    mirror = Mirror(folder, store, lock)
    mirror.upload()
    assert stored_steps(store) == []
    mirror.upload()
    assert opened(store)[1] == [10]


def diverge(store: Store) -> None:
    with trained_for_store(store.url) as folder:
        begin(folder)
        save(folder, 10)
        raise UserError("it diverged")


def test_what_ends_training_is_not_hidden_by_a_store_that_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Mirror) -> None:
        raise StoreError("no way")

    monkeypatch.setattr(Mirror, "upload", refuse)
    with pytest.raises(UserError, match="it diverged"):
        diverge(store)
    assert "no way. What is not in memory://" in capfd.readouterr().err


def test_what_another_machine_has_written_since_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(store, 10)
    with monkeypatch.context() as patch:
        elsewhere(patch, tmp_path)
        with trained_for_store(store.url) as folder:
            save(folder, 20, content="theirs")
    with trained_for_store(store.url) as folder:
        assert "was written from elsewhere since: it is fetched anew" in " ".join(capfd.readouterr().err.split())
        newest = list_checkpoints(folder / CHECKPOINTS)[0]
        assert (newest.folder / "model.safetensors").read_text(encoding="utf-8") == "theirs 20"


def test_an_owner_that_was_followed_writes_nothing_more(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    begin(folder)
    old = StoreLock(store)
    old.acquire()
    mirror = Mirror(folder, store, old)
    save(folder, 10)
    mirror.upload()
    StoreLock(store, limit_s=-1).acquire()
    before = {name: store.read(name) for name in store.names()}
    save(folder, 20)
    (folder / "metrics.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    with pytest.raises(LostLockError), mirror.running():
        pass
    assert {name: store.read(name) for name in store.names()} == before


def test_without_a_store_what_was_fetched_before_is_opened(
    store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(store, 10)
    folder, _ = opened(store)

    def fail(self: Store, under: str = "") -> list[str]:
        raise StoreError("the store does not answer")

    monkeypatch.setattr(Store, "names", fail)
    assert from_store(store.url) == folder
    assert "the store does not answer. This is memory://" in capfd.readouterr().err
    with pytest.raises(StoreError, match="does not answer"):
        from_store(f"{store.url}-other")


def _lock_of(store: Store) -> StoreLock:
    """The lock that this process holds already."""
    lock = StoreLock(store)
    lock.number = lock.numbers()[-1]
    found = lock._owner_of(lock.number)
    assert found is not None
    lock.owner = found
    return lock
