"""Small images and archives, and a request with everything that does not matter filled in."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipn.config import SetParams, WorldParams
from clipn.data.sets.readers import Request
from clipn.data.sets.registry import Layout

WORLD = WorldParams(image_size=24, noise=10.0, rotation=5.0, seed=3)


def make_image(grey: int = 0, kind: str = "PNG") -> bytes:
    """A 4 × 4 image of one grey."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(buffer, kind)
    return buffer.getvalue()


def make_tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def make_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in members.items():
            container.writestr(name, content)
    return path


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.fixture
def make_request(tmp_path: Path) -> Callable[..., Request]:
    def build(
        reader: str,
        path: Path = Path("nowhere"),
        *,
        prefix: str = "",
        layout: Layout | None = None,
        lists: Sequence[Path] = (),
        **params: Any,
    ) -> Request:
        settings = SetParams(reader, str(path), **params)
        return Request(settings, WORLD, path, tmp_path, layout or Layout(prefix=prefix), lists)

    return build
