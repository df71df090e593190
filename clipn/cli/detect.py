"""`clipn detect`: which images belong to none of the given classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clipn import paths
from clipn.cli import options
from clipn.cli.options import completed, one_of

MODEL = paths.model(0)
TPR = 0.95

app = typer.Typer()


@app.command(
    epilog=options.examples(
        "clipn detect photos --classes 'sun, cloud, umbrella'",
        "clipn detect a.png b.png --set emoticons --score 1-NN --fit emoticons_fit --format json",
    )
)
def detect(
    ctx: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    classes: Annotated[
        str | None, typer.Option(help="Class names, comma-separated, or a file with one a line.")
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option(
            "--set",
            help="Take classes and threshold of an evaluation set that went through the pipeline.",
            autocompletion=completed(options.encoded_sets),
        ),
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of a trained model.")] = MODEL,
    backbone: Annotated[Path, typer.Option(help="Folder of the CLIP that it was trained with.")] = paths.BACKBONE,
    score: Annotated[
        str,
        typer.Option(
            help="Name of the score; a wrong name is answered with the list of all.",
            autocompletion=completed(options.scores),
            callback=one_of(options.scores),
        ),
    ] = "CLIPN-ATD",
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="ID images for scores that need some: a set that went through the pipeline too.",
            autocompletion=completed(options.encoded_sets),
        ),
    ] = None,
    templates: Annotated[
        str,
        typer.Option(
            help="Sentences around class names.",
            autocompletion=completed(options.template_sets),
            callback=one_of(options.template_sets),
        ),
    ] = "simple",
    calibrate: Annotated[Path | None, typer.Option(metavar="FOLDER", help="ID images that set the threshold.")] = None,
    tpr: Annotated[
        float | None,
        typer.Option(help="Share of the ID images to accept, above 0 and at most 1.", show_default=str(TPR)),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to compute.", show_default="cuda if there is one, else cpu")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that the tower takes at once.")] = 64,
    output: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print the result.")] = (
        "table"
    ),
) -> None:
    """Say which images belong to none of the given classes.

    The classes come from --classes or --set. A score without a decision of its own needs a threshold,
    which --calibrate or --set gives.
    """
    if (classes is None) == (set_name is None):
        ctx.fail("Give one of --classes and --set.")
    if tpr is not None and not (calibrate or set_name):
        ctx.fail("--tpr is for a threshold: give --calibrate or --set too.")
    from clipn.cli import detection  # imports torch, which the help need not wait for

    files = detection.image_files(images)
    names = detection.set_classes(set_name) if set_name else detection.class_names(classes or "")
    detector = detection.load(
        model, backbone, names, score=score, templates=templates, fit=fit, device=device, batch_size=batch_size
    )
    if calibrate or set_name:
        share = TPR if tpr is None else tpr
        threshold = detector.calibrate(detection.id_images(calibrate, set_name, backbone), share)
        source = calibrate or paths.SET_FEATURES / str(set_name)
        typer.echo(f"threshold {threshold:.4f} accepts {share:.0%} of {source}", err=True)
    rows = detection.rows(files, detector(detection.open_all(files)))
    detection.show(rows, output, score=score, n_classes=len(names))
