"""Profiles compose, pass the check and equal what DVC composes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import compose_and_dump

from clipn.config import Params
from clipn.data.sets.registry import registered
from clipn.errors import InvalidParams, MissingInput
from clipn.project import profiles
from clipn.project.params import parse_params, read_params
from tests.conftest import ROOT

NAMES = ("cc3m", "miniature", "quick", "smoke", "study")


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_names() -> None:
    assert profiles.names() == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_passes_the_check_and_takes_registered_sets_as_they_are(name: str) -> None:
    params = parse_params(profiles.compose(name), name)
    for options in params.sets.values():
        assert Path(options.path).exists()
        if options.registered:
            entry = registered(options.registered)
            assert entry.reader == options.reader
            assert entry.classes or not options.labelled
    assert Path(params.captions.path).exists()
    assert params.backbone.source == "pretrain" or Path(params.backbone.path).exists()


@pytest.mark.parametrize("name", NAMES)
def test_dvc_composes_the_same_but_for_what_follows_from_it(name: str, tmp_path: Path) -> None:
    profiles.register_benchmarks()
    compose_and_dump(str(tmp_path / "params.yaml"), str(ROOT / "conf"), None, "config", "", [f"profile={name}"])
    composed = profiles.compose(name)
    for options in composed["sets"].values():
        del options["names_file"]
    assert yaml.safe_load((tmp_path / "params.yaml").read_text()) == composed


def test_the_file_of_class_names_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    composed = profiles.compose(
        "miniature", ["+sets.digits.class_names=my/names.txt", "+sets.greek.class_names=imagenet"]
    )
    assert composed["sets"]["digits"]["names_file"] == "my/names.txt"
    for name in ("greek", "arrows"):
        assert composed["sets"][name]["names_file"] == "clipn/data/sets/imagenet_classes.tsv"


def test_the_parameters_are_what_their_first_line_says() -> None:
    """As committed that is the miniature world; a user may have written another profile since."""
    text = Path("params.yaml").read_text()
    profile, *overrides = text.splitlines()[0].partition("clipn profile ")[2].split() or [""]
    if not profile:
        pytest.skip("params.yaml was not written by clipn profile; dvc exp run writes it too")
    assert yaml.safe_load(text) == profiles.compose(profile, overrides), "changed by hand? Write it with clipn profile"


def test_smoke_is_the_miniature_world_made_small() -> None:
    smoke, miniature = profiles.compose("smoke"), profiles.compose("miniature")
    assert smoke["sets"].keys() == miniature["sets"].keys()
    assert smoke["sets"]["greek"] == miniature["sets"]["greek"] | {"images_per_class": 2}
    assert smoke["backbone"]["pretrain"] == miniature["backbone"]["pretrain"] | {"epochs": 1}
    assert smoke["benchmarks"] == miniature["benchmarks"]


def test_cc3m_trains_as_the_paper_did() -> None:
    params: Params = parse_params(profiles.compose("cc3m"))
    assert (params.backbone.name, params.backbone.pretrained) == ("ViT-B-16", "laion2b_s34b_b88k")
    train = params.train
    assert (train.epochs, train.batch_size, train.lr, train.weight_decay) == (10, 2048, 3e-4, 0.2)
    assert (train.beta1, train.beta2, train.eps, train.n_prompts, len(train.seeds)) == (0.9, 0.98, 1e-6, 16, 3)
    assert params.benchmarks["imagenet"].ood == ("inaturalist", "sun", "textures", "places")
    assert (params.evaluate.logit_scale, params.evaluate.fpr_convention) == (100.0, "id-interpolated")
    assert params.captions.limit is None


def test_overrides() -> None:
    values = profiles.compose("miniature", ["train.epochs=3", "train.seeds=[7]", "~sets.cards"])
    assert (values["train"]["epochs"], values["train"]["seeds"]) == (3, [7])
    assert "cards" not in values["sets"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.epoch=3", "train.epoch=3: train has no key 'epoch'; known: seeds, epochs, batch_size"),
        ("trian.epochs=3", "profile 'smoke' has no key 'trian'; known: world, captions"),
        ("world.seed.x=1", "seed has no key 'x'; known: none"),
        ("train.epochs=[1", r"profile 'smoke' with train\.epochs=\[1: "),
        ("world.seed=${nowhere}", r"with world\.seed=\$\{nowhere\}: .*nowhere"),
    ],
)
def test_bad_overrides(override: str, problem: str) -> None:
    with pytest.raises(InvalidParams, match=problem):
        profiles.compose("smoke", [override])


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidParams, match="unknown profile 'paper'; known: cc3m, miniature, quick, smoke"):
        profiles.compose("paper")


def test_outside_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    calls: list[Any] = [profiles.names, lambda: profiles.compose("smoke"), lambda: profiles.write("smoke")]
    for call in calls:
        with pytest.raises(MissingInput, match=r"conf/config\.yaml does not exist in .*project's root"):
            call()


def test_write(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    profiles.write("smoke", path, ["train.lr=0.001"])
    assert read_params(path).train.lr == 0.001
    assert path.read_text().startswith("# Composed from conf/; ")
    assert path.read_text().splitlines()[0].endswith(": clipn profile smoke train.lr=0.001")
    assert yaml.safe_load(path.read_text()) == profiles.compose("smoke", ["train.lr=0.001"])


def test_wrong_values_leave_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("old")
    with pytest.raises(InvalidParams, match=r"'smoke' has 2 problem\(s\):\n.*captions\.speed.*\n.*train\.lr"):
        profiles.write("smoke", path, ["train.lr=-1", "+captions.speed=3"])
    assert path.read_text() == "old"


def test_a_profile_takes_in_a_published_benchmark_or_ones_own_version_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    profile = "# @package _global_\ndefaults:\n  - miniature\n  - /benchmark: [cifar10]\n  - _self_\n"
    (tmp_path / "conf/profile/mine.yaml").write_text(profile)
    assert profiles.compose("mine")["benchmarks"]["cifar10"]["ood"] == ["cifar100", "lsun_resize", "imagenet_resize"]
    (tmp_path / "conf/benchmark").mkdir()
    own = "# @package _global_\nbenchmarks:\n  cifar10: {id: pictographs, ood: [greek]}\n"
    (tmp_path / "conf/benchmark/cifar10.yaml").write_text(own)
    assert profiles.compose("mine")["benchmarks"]["cifar10"] == {"id": "pictographs", "ood": ["greek"]}
