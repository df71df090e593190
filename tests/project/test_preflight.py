"""Wrong inputs are found before any work, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipn.config import Params
from clipn.errors import InvalidParams
from clipn.project import preflight, profiles
from clipn.project.params import parse_params
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def params_with(**sections: dict) -> Params:
    values = profiles.compose("miniature")
    for name, changes in sections.items():
        values[name].update(changes)
    return parse_params(values)


def test_the_default_profile_is_fine() -> None:
    preflight.check(params_with())


def test_deadlines_that_contradict_each_other_are_found() -> None:
    with pytest.raises(InvalidParams, match="timeout_seconds is 99 s, longer than image_deadline_seconds, 15 s"):
        preflight.check(params_with(download={"timeout_seconds": 99}))


def test_all_wrong_inputs_are_named_at_once(tmp_path: Path) -> None:
    table = tmp_path / "captions.tsv"
    table.write_text("address\ttext\nhttp://127.0.0.1/a.jpg\ta picture\n")
    (tmp_path / "empty").mkdir()
    params = params_with(
        captions={"source": "table", "path": str(table)},
        backbone={"source": "local", "path": str(tmp_path / "no-model")},
        sets={
            "greek": {"reader": "folder", "path": str(tmp_path / "nowhere")},
            "arrows": {"reader": "folder", "path": str(tmp_path / "empty")},
        },
    )
    with pytest.raises(InvalidParams) as error:
        preflight.check(params)
    message = str(error.value)
    assert message.startswith("4 problem(s) found before any work")
    for part in ("captions.tsv", "no-model", "nowhere", "empty"):
        assert part in message


def test_photographs_beside_a_table(tmp_path: Path) -> None:
    table = tmp_path / "captions.tsv"
    table.write_text("url\tcaption\nhttp://127.0.0.1/a.jpg\ta picture\n")
    captions = {"source": "table", "path": str(table), "images": str(tmp_path)}
    preflight.check(params_with(captions=captions))
    with pytest.raises(InvalidParams, match=r"captions\.images: .*nowhere does not exist; name the folder"):
        preflight.check(params_with(captions={**captions, "images": str(tmp_path / "nowhere")}))


def test_an_id_set_without_class_folders(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InvalidParams, match="class"):
        preflight.check(params_with(sets={"pictographs": {"reader": "folder", "path": str(tmp_path)}}))


def test_an_imported_model_that_is_not_there() -> None:
    with pytest.raises(
        InvalidParams, match=r"models/imported/gone does not exist; take the model over with 'clipn imp"
    ):
        preflight.check(params_with(evaluate={"imported": ["gone"]}))
