"""What is read from object storage and web servers is tried again, and refusals are clear."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from data_tools.core import archives, file_tree, object_storage
from data_tools.core.errors import StorageError
from data_tools.core.storage_keys import ROLES, storage_config


class Store:
    """A file system as fsspec's, which fails as told."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files, self.faults, self.asked = files, list[Exception](), list[str]()

    def _next(self, what: str) -> None:
        self.asked.append(what)
        if self.faults:
            raise self.faults.pop(0)

    def cat_file(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        self._next(f"get {name}")
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name][start:end]

    def info(self, name: str) -> dict[str, Any]:
        self._next(f"head {name}")
        if name not in self.files:
            raise FileNotFoundError(name)
        return {"size": len(self.files[name]), "type": "file"}

    def find(self, name: str, detail: bool) -> dict[str, Any]:
        self._next(f"list {name}")
        return {
            key: {"size": len(data), "type": "file"}
            for key, data in self.files.items()
            if key.startswith(f"{name}/")
        }


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store({"b/set/a 1.jpg": b"one", "b/set/deep/ü.jpg": b"three", "b/set/x.json": b"[]"})
    monkeypatch.setattr(object_storage, "_files", lambda *_: (made, (OSError,)))
    monkeypatch.setattr(object_storage, "_PAUSES_S", (0.0, 0.0, 0.0, None))
    for known in ("_listed", "_sizes"):
        monkeypatch.setattr(object_storage, known, {})
    return made


def test_a_folder_is_listed_once_and_its_files_are_known_then(store: Store) -> None:
    assert file_tree.children("s3:/b/set") == (["deep"], ["a 1.jpg", "x.json"])
    assert file_tree.children("s3:/b/set/deep") == ([], ["ü.jpg"])
    assert archives.bytes_of("s3:/b/set/deep/ü.jpg") == 5
    assert not archives.is_file("s3:/b/set/no.jpg") and not file_tree.is_folder("s3:/b/set/no")
    assert store.asked == ["list b/set"]
    assert archives.read_file("s3:/b/set/a 1.jpg") == b"one"
    with archives.open_file("s3:/b/set/x.json") as file:
        assert file.read() == b"[]"


def test_a_connection_that_breaks_is_tried_again_and_then_told(store: Store) -> None:
    store.faults = [ConnectionResetError("reset"), TimeoutError("late"), OSError("cut")]
    assert archives.read_file("s3:/b/set/a 1.jpg") == b"one" and len(store.asked) == 4
    store.faults = [ConnectionResetError("reset")] * 4
    with pytest.raises(StorageError, match=r"s3://b/set/a 1\.jpg: .*after 4 tries \(reset\)"):
        archives.read_file("s3:/b/set/a 1.jpg")


def test_what_is_refused_or_not_there_is_not_tried_again(store: Store) -> None:
    store.faults = [PermissionError("403")]
    with pytest.raises(StorageError, match=r"access is refused \(403\).*AWS_ACCESS_KEY_ID"):
        archives.read_file("s3:/b/set/a 1.jpg")
    with pytest.raises(FileNotFoundError):
        archives.read_file("s3:/b/set/no.jpg")
    assert len(store.asked) == 2


def test_without_the_extra_or_credentials_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    object_storage._files.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(StorageError, match=r"extra `cloud`.*pip install '\.\[cloud\]'"):
        archives.read_file("s3:/b/set/a.jpg")
    for name in ("AWS_ACCESS_KEY_ID", *ROLES, "AWS_SKIP_SIGNATURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    with pytest.raises(StorageError, match=r"s3://b: no credentials\. Set AWS_ACCESS_KEY_ID"):
        storage_config("s3", "b")
    text = "[default]\naws_access_key_id = me\naws_secret_access_key = secret\n"
    (tmp_path / "keys").write_text(text)
    assert storage_config("s3", "b")["access_key_id"] == "me"
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(StorageError, match=r"obs://b: say where.*dataset\.endpoint"):
        storage_config("obs", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://obs.cn-north-4.myhuaweicloud.com")
    config = storage_config("obs", "b")
    assert config["endpoint"] == "https://b.obs.cn-north-4.myhuaweicloud.com"
