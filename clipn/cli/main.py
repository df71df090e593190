"""The command `clipn`."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Column, Table

from clipn import scores
from clipn.cli import sets, train
from clipn.data import images
from clipn.errors import ClipnError, Interrupted, InvalidData, InvalidParams, MissingInput
from clipn.project.params import read_params
from clipn.prompts import templates
from clipn.utils.files import read_json

SETS = Path("data/sets")
SET_FEATURES = Path("data/features/sets")
WORDS = Path("data/words")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends with its message and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except ClipnError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipn", description="Teach CLIP to say no.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    detect = commands.add_parser("detect", help="say which images belong to none of the given classes")
    detect.add_argument("images", nargs="+", type=Path, help="image files or folders of them")
    known = detect.add_mutually_exclusive_group(required=True)
    known.add_argument("--classes", help="class names, comma-separated, or a file with one a line")
    known.add_argument("--set", help="take classes and threshold of an evaluation set that went through the pipeline")
    detect.add_argument("--model", type=Path, default=Path("models/clipn/seed-0"), help="default: %(default)s")
    detect.add_argument("--backbone", type=Path, default=Path("data/backbone"), help="default: %(default)s")
    detect.add_argument("--score", choices=list(scores.REGISTRY), default="CLIPN-ATD", help="default: %(default)s")
    detect.add_argument(
        "--fit", metavar="SET", help="in-distribution images for scores that need some: a set that went through too"
    )
    detect.add_argument("--templates", choices=templates.NAMES, default="simple", help="default: %(default)s")
    detect.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="in-distribution images that set the threshold"
    )
    detect.add_argument("--tpr", type=float, default=0.95, help="share of them to accept; default: %(default)s")
    detect.add_argument("--device", default="cpu", help="default: %(default)s")
    detect.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default: %(default)s")
    detect.set_defaults(run=_detect)

    inspect = commands.add_parser("inspect", help="say what a feature store, feature shard or manifest holds")
    inspect.add_argument("path", type=Path)
    inspect.add_argument("--verify", action="store_true", help="compare a store's shards with its index")
    inspect.set_defaults(run=_inspect)

    profile = commands.add_parser("profile", help="write params.yaml from a profile, or list the profiles")
    profile.add_argument("name", nargs="?", help="a file in conf/profile, without .yaml")
    profile.add_argument("overrides", nargs="*", help="changes, such as train.epochs=3")
    profile.add_argument(
        "--sets",
        choices=["all", "obtainable", "present"],
        default="all",
        help="leave out published sets that can only be obtained by hand (obtainable), or were not fetched (present)",
    )
    profile.set_defaults(run=_profile)

    foreign = commands.add_parser("import-checkpoint", help="take over a checkpoint of the reference implementation")
    foreign.add_argument("file", type=Path, help="PyTorch file or safetensors")
    foreign.add_argument("name", help="what the model is to be called, as in evaluate.imported")
    foreign.add_argument("--backbone", type=Path, default=Path("data/backbone"), help="default: %(default)s")
    foreign.add_argument("--out", type=Path, default=Path("models/imported"), help="default: %(default)s")
    foreign.add_argument("--paired-templates", metavar="SET", help="for the hand-crafted variant; default: reference")
    foreign.add_argument("--force", action="store_true", help="replace a model of this name")
    foreign.set_defaults(run=_import_checkpoint)

    train.add(commands)
    sets.add(commands)

    check = commands.add_parser("check", help="check params.yaml and every input that it names")
    check.set_defaults(run=_check)
    return parser


def _detect(options: argparse.Namespace) -> None:
    from clipn.detector import Detector  # imports torch, which the other commands need not wait for

    paths = _image_files(options.images)
    classes = _classes(options)
    if "images" in scores.REGISTRY[options.score].needs and options.fit is None:
        raise InvalidParams(f"{options.score} needs in-distribution images; name a set of them with --fit")
    detector = Detector.load(
        options.model,
        options.backbone,
        classes,
        score=options.score,
        template_set=options.templates,
        words=_words(options),
        id_features=None if options.fit is None else _set_features(options, options.fit, classes),
        device=options.device,
    )
    if options.calibrate or options.set:
        known, source = _known_images(options)
        threshold = detector.calibrate(known, options.tpr)
        print(f"threshold {threshold:.4f} accepts {options.tpr:.0%} of {source}", file=sys.stderr)
    found = detector([_open(path) for path in paths])
    rows = [{"image": str(path), **asdict(detection)} for path, detection in zip(paths, found, strict=True)]
    if options.format == "json":
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    else:
        table = Table(Column("image", overflow="fold"), "known?", "class", "probability", options.score)
        for row in rows:
            verdict = "[green]yes[/]" if row["accepted"] else "[red]no[/]"
            table.add_row(row["image"], verdict, row["label"], f"{row['probability']:.3f}", f"{row['score']:.4f}")
        Console().print(table)
        print(
            f"{sum(not row['accepted'] for row in rows)} of {len(rows)} images belong to none of {len(classes)} classes"
        )


def _inspect(options: argparse.Namespace) -> None:
    from clipn.cli.inspection import describe

    for line in describe(options.path, options.verify):
        print(line)


def _profile(options: argparse.Namespace) -> None:
    from clipn.data.sets import benchmarks
    from clipn.project import profiles

    if options.name is None:
        print("\n".join(profiles.names()))
        return
    overrides = list(options.overrides)
    if options.sets != "all":
        values = profiles.compose(options.name, overrides)
        more, left_out = benchmarks.leave_out(values, options.sets)
        overrides += more
        for name, reason in left_out.items():
            print(f"left out: {name} ({reason})")
    profiles.write(options.name, Path("params.yaml"), overrides)
    print(f"params.yaml now holds the profile {options.name!r}; 'make repro' runs it")


def _import_checkpoint(options: argparse.Namespace) -> None:
    from clipn.config import types
    from clipn.hub import reference_checkpoint

    if not re.fullmatch(types.NAME, options.name):
        raise InvalidParams(
            f"{options.name!r} is no name for a model; letters, digits, - and _ make one, a letter or digit first"
        )
    out = options.out / options.name
    imported = reference_checkpoint.import_file(
        options.file, out, options.backbone, options.paired_templates, options.force
    )
    print("\n".join(reference_checkpoint.describe(imported)))
    print(f"wrote     {out}")
    print(f"next      list {options.name} in evaluate.imported of params.yaml and run 'dvc repro'")


def _check(options: argparse.Namespace) -> None:
    from clipn.project import preflight

    preflight.check(read_params())
    print("params.yaml and every input that it names are fine")


def _classes(options: argparse.Namespace) -> list[str]:
    if options.set:
        names = read_json(SETS / options.set / "classes.json")
        if not names:
            raise InvalidData(f"the set {options.set!r} has no classes; name them with --classes")
        return names
    path = Path(options.classes)
    text = path.read_text(encoding="utf-8") if path.is_file() else options.classes.replace(",", "\n")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _known_images(options: argparse.Namespace) -> tuple[Any, Path]:
    """In-distribution images for the threshold, or their features, and where they come from."""
    if options.calibrate:
        return [_open(path) for path in _image_files([options.calibrate])], options.calibrate
    return _set_features(options, options.set), SET_FEATURES / options.set


def _set_features(options: argparse.Namespace, name: str, classes: Sequence[str] = ()) -> Any:
    """The features of a set that went through the pipeline; if classes are given, it has to have these."""
    from clipn.features.store import FeatureStore
    from clipn.models.backbone import fingerprint

    store = FeatureStore.open(SET_FEATURES / name, fingerprint(options.backbone))
    if classes and "labels" in scores.REGISTRY[options.score].needs and list(store.meta.classes) != list(classes):
        raise InvalidData(f"{options.score} learns the classes of {name!r}, but other ones are asked for")
    return store.load()


def _words(options: argparse.Namespace) -> Any:
    """The word list that the pipeline encoded, if the score needs one."""
    if "words" not in scores.REGISTRY[options.score].needs:
        return None
    from clipn.models.backbone import fingerprint
    from clipn.prompts import words

    return words.read(WORDS / words.FILE, fingerprint(options.backbone))


def _image_files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in images.SUFFIXES)
            if not inside:
                raise InvalidData(f"{path} holds no images ({', '.join(sorted(images.SUFFIXES))})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise MissingInput(f"{path} does not exist")
    return found


def _open(path: Path) -> Image.Image:
    try:
        return images.decode(path.read_bytes(), images.MAX_PIXELS)
    except InvalidData as error:
        raise InvalidData(f"{path}: {error}") from error
