"""Archives made in the layout of each published set, read as the registry says."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from clipn.data.sets import class_names
from clipn.data.sets.readers import READERS, Request, Source
from clipn.data.sets.registry import Layout, Table, registered
from clipn.errors import InvalidData, MissingInput
from tests.data.sets.readers.conftest import make_image, make_tar, make_zip

JPG = make_image(kind="JPEG")


def images(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, JPG)


def matlab(**variables: object) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def taken(source: Source) -> dict[str, str]:
    """Image → class."""
    return {
        name.rpartition("/")[2]: source.classes[label]
        for name, label in zip(source.names, source.labels, strict=True)
        if label is not None
    }


@pytest.fixture
def read(tmp_path: Path, make_request: Callable[..., Request]) -> Callable[..., Source]:
    """Reads files of the given contents as a registered set."""

    def build(name: str, *contents: dict[str, bytes] | bytes, pack: Any = make_tar, **options: Any) -> Source:
        entry = registered(name)
        paths = []
        for i, content in enumerate(contents):
            path = tmp_path / f"{i}"
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                pack(path, content)
            paths.append(path)
        request = make_request(entry.reader, paths[0], layout=entry.layout, lists=paths[1:], registered=name, **options)
        with READERS[entry.reader](request) as source:
            assert all(source.read(i) == JPG for i in range(len(source.names)))
            return source

    return build


def test_cub_takes_the_test_images_and_drops_the_number_of_a_class(read: Callable[..., Source]) -> None:
    source = read(
        "cub200",
        {
            **images("CUB_200_2011/images/002.Laysan_Albatross/a.jpg", "CUB_200_2011/images/001.Rock_Wren/b.jpg"),
            **images("CUB_200_2011/images/001.Rock_Wren/c.jpg"),
            "CUB_200_2011/images.txt": b"1 001.Rock_Wren/b.jpg\n2 001.Rock_Wren/c.jpg\n3 002.Laysan_Albatross/a.jpg\n",
            "CUB_200_2011/train_test_split.txt": b"1 1\n2 0\n3 0\n",
            "attributes.txt": b"1 has_bill_shape::curved\n",
        },
    )
    assert taken(source) == {"c.jpg": "Rock_Wren", "a.jpg": "Laysan_Albatross"}
    assert source.classes == ["Laysan_Albatross", "Rock_Wren"]


def test_dogs_are_named_without_their_wordnet_id(read: Callable[..., Source]) -> None:
    source = read(
        "stanford_dogs", images("Images/n02-flat-coated_retriever/n02_1.jpg", "Images/n01-Chihuahua/n01_1.jpg")
    )
    assert taken(source) == {"n02_1.jpg": "flat-coated_retriever", "n01_1.jpg": "Chihuahua"}


def test_pets_are_named_by_their_files_and_chosen_by_the_list(read: Callable[..., Source]) -> None:
    source = read(
        "pets",
        {
            **images("images/yorkshire_terrier_12.jpg", "images/Bombay_3.jpg", "images/Bombay_4.jpg"),
            "images/x.mat": b"",
        },
        {"annotations/test.txt": b"Bombay_4 8 1 5\nyorkshire_terrier_12 37 2 25\n", "annotations/list.txt": b"#\n"},
    )
    assert taken(source) == {"Bombay_4.jpg": "Bombay", "yorkshire_terrier_12.jpg": "yorkshire_terrier"}


def test_food_takes_the_list_of_test_images(read: Callable[..., Source]) -> None:
    source = read(
        "food101",
        {
            **images(
                "food-101/images/apple_pie/1.jpg", "food-101/images/apple_pie/2.jpg", "food-101/images/ramen/1.jpg"
            ),
            "food-101/meta/test.txt": b"apple_pie/2\nramen/1",
            "food-101/meta/train.txt": b"apple_pie/1",
        },
    )
    assert list(source.names) == ["food-101/images/apple_pie/2.jpg", "food-101/images/ramen/1.jpg"]
    assert source.classes == ["apple_pie", "ramen"]


def test_flowers_have_their_labels_and_split_in_matlab_files(read: Callable[..., Source]) -> None:
    source = read(
        "flowers102",
        images("jpg/image_00001.jpg", "jpg/image_00002.jpg", "jpg/image_00003.jpg"),
        matlab(labels=np.array([[102, 1, 10]], np.uint8)),
        matlab(tstid=np.array([[3, 1]], np.uint16), trnid=np.array([[2]], np.uint16)),
    )
    assert taken(source) == {"image_00001.jpg": "blackberry lily", "image_00003.jpg": "globe thistle"}


def test_tiny_imagenet_is_a_flat_folder_with_a_list(read: Callable[..., Source]) -> None:
    source = read(
        "tinyimagenet",
        {
            **images("tiny-imagenet-200/val/images/val_0.JPEG", "tiny-imagenet-200/val/images/val_1.JPEG"),
            **images("tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG"),
            "tiny-imagenet-200/val/val_annotations.txt": (
                b"val_0.JPEG\tn03444034\t0\t32\t44\t62\nval_1.JPEG\tn01443537\t0\t0\t9\t9\n"
            ),
            "tiny-imagenet-200/words.txt": (
                b"n01443537\tgoldfish, Carassius auratus\nn03444034\tgo-kart\nn00001740\tentity\n"
            ),
        },
        pack=make_zip,
    )
    assert taken(source) == {"val_0.JPEG": "go-kart", "val_1.JPEG": "goldfish"}


def test_places_joins_two_lists_of_another_archive(read: Callable[..., Source]) -> None:
    source = read(
        "places365",
        images("val_256/Places365_val_00000001.jpg", "val_256/Places365_val_00000002.jpg"),
        {
            "places365_val.txt": b"Places365_val_00000001.jpg 1\nPlaces365_val_00000002.jpg 0\n",
            "categories_places365.txt": b"/a/airfield 0\n/a/apartment_building/outdoor 1\n",
        },
    )
    assert list(taken(source).values()) == ["apartment_building/outdoor", "airfield"]


def test_a_split_of_textures_and_one_without_four_classes(read: Callable[..., Source]) -> None:
    files = {
        **images("dtd/images/banded/1.jpg", "dtd/images/banded/2.jpg", "dtd/images/bubbly/1.jpg"),
        **images("dtd/images/bubbly_things/1.jpg"),
        "dtd/labels/test1.txt": b"banded/2.jpg\nbubbly/1.jpg\n",
    }
    assert taken(read("textures_test", files)) == {"2.jpg": "banded", "1.jpg": "bubbly"}
    assert read("textures_vim", files).classes == ["banded", "bubbly_things"]
    assert read("textures", files).classes == ["banded", "bubbly", "bubbly_things"]


@pytest.mark.parametrize("name", ["imagenet100", "imagenet100_mcm", "imagenet30"])
def test_subsets_of_imagenet_take_their_classes_from_a_folder(
    tmp_path: Path, make_request: Callable[..., Request], name: str
) -> None:
    entry = registered(name)
    for folder in class_names.imagenet("imagenet"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.JPEG").write_bytes(JPG)
    with READERS["layout"](make_request("layout", tmp_path, layout=entry.layout, registered=name)) as source:
        assert len(source.names) == len(source.classes) == entry.classes
        assert set(source.classes) <= class_names.imagenet("imagenet").keys()
        assert source.read(0) == JPG


def test_unlabelled_images_need_no_classes(read: Callable[..., Source]) -> None:
    source = read("stanford_dogs", images("Images/n01-Chihuahua/1.jpg"), labelled=False)
    assert (list(source.labels), list(source.classes)) == ([None], [])


@pytest.mark.parametrize(
    ("name", "contents", "problem"),
    [
        ("stanford_dogs", [{"readme": b""}], r"has no image of the form Images/.*its first file is 'readme'"),
        ("stanford_dogs", [{"Images/n01-Chihuahua/1.txt": b""}], "has no image of the form"),
        ("food101", [images("food-101/images/ramen/1.jpg")], r"0 has no file 'food-101/meta/test\.txt'"),
        (
            "food101",
            [{**images("food-101/images/ramen/1.jpg"), "food-101/meta/test.txt": b"ramen/1\nramen/2"}],
            "'ramen/2'",
        ),
        ("food101", [{**images("food-101/images/ramen/1.jpg"), "food-101/meta/test.txt": b"\xff"}], "is not UTF-8"),
        (
            "food101",
            [{**images("food-101/images/ramen/1.jpg"), "food-101/meta/test.txt": b"\n"}],
            "no line of the form",
        ),
        ("flowers102", [images("jpg/image_00001.jpg"), matlab(labels=[1]), b"junk"], "not a MATLAB 5 file"),
        ("flowers102", [images("jpg/image_00001.jpg"), matlab(labels=[1]), matlab(tstid=[2])], "1 that have no image"),
        ("places365", [images("val_256/1.jpg"), b"junk"], "damaged archive"),
        ("places365", [images("val_256/1.jpg"), {"../places365_val.txt": b""}], "outside of its own folder"),
    ],
)
def test_archives_that_are_not_what_the_registry_says(
    read: Callable[..., Source], name: str, contents: list[Any], problem: str
) -> None:
    with pytest.raises(InvalidData, match=problem):
        read(name, *contents)


def test_images_that_are_on_no_list_leave_nothing(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    layout = Layout(images=r"(?P<id>\d+)\.jpg", tables=(Table(r"(?P<id>\d+) (?P<class>\w+)", lines="2 ant"),))
    path = make_tar(tmp_path / "x.tar", images("1.jpg"))
    with (
        pytest.raises(InvalidData, match="no image is on all of its lists"),
        READERS["layout"](make_request("layout", path, layout=layout)),
    ):
        pass


def test_a_list_cannot_name_a_file_outside_of_the_archive(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    layout = Layout(images=r"(?P<class>a)/(?P<file>.+)", tables=(Table(r"(?P<file>\S+)", member="list.txt"),))
    path = make_tar(tmp_path / "x.tar", {**images("a/1.jpg"), "list.txt": b"1.jpg\n../../etc/passwd\n/etc/passwd\n"})
    with READERS["layout"](make_request("layout", path, layout=layout)) as source:
        assert list(source.names) == ["a/1.jpg"]


def test_a_missing_archive(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    request = make_request("layout", tmp_path / "gone")
    with pytest.raises(MissingInput, match="gone does not exist"), READERS["layout"](request):
        pass
