"""A registry of small sets whose archives are on a loopback server."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from clipn.data.sets import registry
from clipn.data.sets.registry import File, Layout, Registered, Table


def jpeg(grey: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (grey, grey, grey)).save(buffer, "JPEG")
    return buffer.getvalue()


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def linked() -> bytes:
    """A tar with an image and a link that leads out of it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("ant/0.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        member = tarfile.TarInfo("ant/1.jpg")
        member.size = len(jpeg())
        archive.addfile(member, io.BytesIO(jpeg()))
    return buffer.getvalue()


def packed(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def matlab(**variables: Any) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, variables)
    return buffer.getvalue()


def cifar() -> bytes:
    record = bytes([1]) + bytes(3072)
    files = {"cifar-10-batches-bin/test_batch.bin": 2 * record, "cifar-10-batches-bin/batches.meta.txt": b"ant\nbee\n"}
    return tar(files, "w:gz")


def stl10() -> bytes:
    files = {"test_X.bin": bytes(3 * 96 * 96 * 2), "test_y.bin": b"\1\2", "class_names.txt": b"ant\nbee\n"}
    return tar({f"stl10_binary/{name}": content for name, content in files.items()}, "w:gz")


TWO = {"top/ant/1.jpg": jpeg(), "top/bee/2.jpg": jpeg(9)}
LISTED = Layout(
    prefix="jpg",
    images=r"(?P<id>\d+)\.jpg",
    tables=(
        Table(r"(?P<id>\d+)", file=1, member="test.txt", complete=True),
        Table(r"(?P<id>\d+) (?P<class>\d+)", file=2, variable="labels"),
        Table(r"(?P<class>\d+) (?P<name>.+)", lines="1 ant\n2 bee"),
    ),
)

CONTENTS: dict[str, bytes] = {
    "plain.tar": tar(TWO),
    "small.tar.gz": tar(TWO, "w:gz"),
    "packed.zip": packed(TWO),
    "cifar.tar.gz": cifar(),
    "stl10.tar.gz": stl10(),
    "digits.mat": matlab(X=np.zeros((32, 32, 3, 2), np.uint8), y=np.array([[10], [1]], np.uint8)),
    "flowers.tgz": tar({"jpg/1.jpg": jpeg(), "jpg/2.jpg": jpeg(1), "jpg/3.jpg": jpeg(2)}, "w:gz"),
    "lists.tar": tar({"test.txt": b"1\n3\n"}),
    "labels.mat": matlab(labels=np.array([[2, 1, 1]], np.uint8)),
    "linked.tar": linked(),
    "outside.tar.gz": tar({"top/ant/1.jpg": jpeg(), "top/../../evil.jpg": jpeg()}, "w:gz"),
    "outside.zip": packed({"top/ant/1.jpg": jpeg(), "../evil.jpg": jpeg()}),
    "bomb.tar.gz": tar({"top/ant/1.jpg": bytes(40 * 2**20)}, "w:gz"),
    "bomb.zip": packed({"top/ant/1.jpg": bytes(40 * 2**20)}),
    "cut.tar": tar(TWO)[:3000],
    "pickle.tar": tar({"top/ant/1.jpg": b"\x80\x04cos\nsystem\n(S'touch evil.jpg'\ntR.", "top/bee/2.jpg": jpeg()}),
}


def entries(address: str) -> dict[str, Registered]:
    def file(name: str, **changes: Any) -> File:
        content = CONTENTS.get(name, b"")
        facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} | changes
        return File(f"{address}/{name}", **facts)

    def entry(reader: str, *files: File, images: int = 2, classes: int = 2, **options: Any) -> Registered:
        return Registered("Things", reader, images, classes, "free", files, evidence="made here", **options)

    return {
        "plain": entry("tar", file("plain.tar")),
        "compressed": entry("tar", file("small.tar.gz")),
        "packed": entry("tar", file("packed.zip")),
        "cifar": entry("cifar", file("cifar.tar.gz"), classes=1),
        "stl10": entry("stl10", file("stl10.tar.gz")),
        "svhn": entry("svhn", file("digits.mat")),
        "listed": entry("layout", file("flowers.tgz"), file("lists.tar"), file("labels.mat"), layout=LISTED),
        "linked": entry("tar", file("linked.tar"), images=1, classes=1),
        "unlabelled": entry("tar", file("plain.tar"), classes=0),
        "more": entry("tar", file("plain.tar"), images=3, classes=5),
        "changed": entry("tar", file("plain.tar", sha256="0" * 64)),
        "larger": entry("tar", file("plain.tar", bytes=1000)),
        "gone": entry("tar", file("gone.tar")),
        "huge": entry("tar", file("gone.tar", bytes=10**18)),
        "outside_tar": entry("tar", file("outside.tar.gz")),
        "outside_zip": entry("tar", file("outside.zip")),
        "bomb_tar": entry("tar", file("bomb.tar.gz")),
        "bomb_zip": entry("tar", file("bomb.zip")),
        "cut": entry("tar", file("cut.tar")),
        "pickle": entry("tar", file("pickle.tar")),
        "licensed": entry("folder", environment="CLIPN_THINGS", notes="Ask for it."),
    }


@contextmanager
def serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Registered]]:
    """The registry's entries while their files are served from `folder`."""
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    found = entries(f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(registry, "registry", lambda: found)
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
