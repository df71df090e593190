from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipn.data.sets.readers import Request
from clipn.data.sets.readers.cifar import open_cifar
from clipn.data.sets.registry import Layout
from clipn.errors import InvalidData
from tests.data.sets.readers.conftest import make_tar, pixels

# One image whose three colour planes are 10, 20 and 30, but for its first row.
PLANES = np.stack([np.full((32, 32), value, np.uint8) for value in (10, 20, 30)])
PLANES[:, 0, :] = np.arange(32, dtype=np.uint8)


def test_cifar10(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    folder = "cifar-10-batches-bin"
    path = make_tar(
        tmp_path / "cifar.tar.gz",
        {
            f"{folder}/batches.meta.txt": b"airplane\nautomobile\n\n",
            f"{folder}/data_batch_1.bin": b"not looked at",
            f"{folder}/test_batch.bin": bytes([1]) + PLANES.tobytes() + bytes([0]) + bytes(3072),
        },
        "w:gz",
    )
    with open_cifar(make_request("cifar", path, registered="cifar10")) as source:
        assert list(source.classes) == ["airplane", "automobile"]
        assert list(source.labels) == [1, 0]
        assert list(source.names) == ["test_batch.bin/00000", "test_batch.bin/00001"]
        assert np.array_equal(pixels(source.read(0)), PLANES.transpose(1, 2, 0))
        assert not pixels(source.read(1)).any()


def test_training_images_are_all_batches_in_order(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    record = PLANES.tobytes()
    path = make_tar(
        tmp_path / "cifar.tar",
        {
            "x/data_batch_2.bin": bytes([0]) + bytes(3072),
            "x/data_batch_1.bin": bytes([1]) + record + bytes([0]) + record,
            "x/batches.meta.txt": b"airplane\nautomobile\n",
            "x/test_batch.bin": b"not looked at",
        },
    )
    with open_cifar(make_request("cifar", path, registered="cifar10_train", layout=Layout(split="train"))) as source:
        assert list(source.names) == ["data_batch_1.bin/00000", "data_batch_1.bin/00001", "data_batch_2.bin/00000"]
        assert list(source.labels) == [1, 0, 0]
        assert not pixels(source.read(2)).any()


def test_cifar100_takes_the_fine_label(tmp_path: Path, make_request: Callable[..., Request]) -> None:
    path = make_tar(
        tmp_path / "cifar.tar.gz",
        {
            "cifar-100-binary/fine_label_names.txt": b"apple\naquarium_fish\nbaby\n",
            "cifar-100-binary/coarse_label_names.txt": b"aquatic_mammals\n",
            "cifar-100-binary/test.bin": bytes([0, 2]) + PLANES.tobytes(),
        },
        "w:gz",
    )
    with open_cifar(make_request("cifar", path, registered="cifar100")) as source:
        assert list(source.labels) == [2]
        assert source.classes[1] == "aquarium_fish"
        assert np.array_equal(pixels(source.read(0)), PLANES.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"cifar-10-batches-py/test_batch": b"pickle"}, "not the binary version"),
        ({"batches.meta.txt": b"airplane\n"}, "not the binary version"),
        ({"batches.meta.txt": b"airplane\n", "test_batch.bin": bytes(3000)}, "no multiple of 3073"),
        ({"batches.meta.txt": b"airplane\n", "test_batch.bin": b"\x09" + bytes(3072)}, "has the class 9, .* names 1"),
    ],
)
def test_other_content_is_refused(
    tmp_path: Path, make_request: Callable[..., Request], members: dict[str, bytes], problem: str
) -> None:
    path = make_tar(tmp_path / "cifar.tar.gz", members, "w:gz")
    with pytest.raises(InvalidData, match=problem), open_cifar(make_request("cifar", path, registered="cifar10")):
        pass
