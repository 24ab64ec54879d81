"""Somebody else writes into the folder of a file store: what do pages show?

The stored value of one cached def is damaged, replaced by what a page of
theirs would have stored, or by a pickle that does something when it is
loaded: here, it makes a folder.  All three contenders keep files, each in
its own format; ours has a ``secret``.
"""

from __future__ import annotations

import dbm
import os
import pickle
import struct
import tempfile
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from typing import Protocol

from dogpile.cache import make_region
from mako.template import Template

from campaigns.findings import Finding
from campaigns.findings import Scale
from mako_cacheplug import CacheRegion
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.testing.payloads import pickled
from mako_cacheplug.testing.payloads import trapped

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug", "dogpile.cache", "beaker")

_PAGE: Final = '<%def name="box()" cached="True">ours</%def>${box()}'
_FOREIGN: Final = "theirs"


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what the pages did, and what ran."""
    raised = wrong = foreign = 0
    plantings = 0
    note = ""
    with tempfile.TemporaryDirectory() as outer:
        canary = Path(outer, "ran")
        for what, planting in _plantings(canary).items():
            with tempfile.TemporaryDirectory() as folder:
                site = _SITES[contender](Path(folder))
                assert site.template.render() == "ours"
                site.plant(planting)
                plantings += 1
                for _ in range(2):
                    try:
                        shown = site.template.render()
                    except Exception as error:
                        raised += 1
                        note = f"{what}: {type(error).__name__}: {error}"
                    else:
                        foreign += shown == _FOREIGN
                        wrong += shown not in ("ours", _FOREIGN)
        ran = int(canary.exists())
    return [
        Finding(contender, "plantings", plantings, least=1),
        Finding(contender, "renders that raised", raised, most=0, note=note),
        Finding(contender, "pages with planted text", foreign, most=0),
        Finding(contender, "pages with rubbish", wrong, most=0),
        Finding(contender, "planted code that ran", ran, most=0),
    ]


Planting = Callable[["_Site", bytes], bytes]


class _Canary:
    """When it is unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self._folder,)


def _plantings(canary: Path) -> dict[str, Planting]:
    """Return what is put in a good value's place, each with a name."""
    found: dict[str, Planting] = {
        "nothing": lambda site, good: b"",
        "text": lambda site, good: b"<b>" + b"x" * 99,
        "zeros": lambda site, good: bytes(len(good)),
        "cut in half": lambda site, good: good[: len(good) // 2],
        "cut by one": lambda site, good: good[:-1],
        "a foreign text": lambda site, good: site.foreign(good, _FOREIGN),
        "a pickle": lambda site, good: pickled(canary),
        "a pickle inside": lambda site, good: site.foreign(
            good, _Canary(canary)
        ),
    }
    for what in trapped(""):
        found[what] = lambda site, good, what=what: trapped(site.key)[what]  # type: ignore[misc]  # the default binds
    return found


class _Site(Protocol):
    """One template with a store, and a way around it."""

    template: Template
    key: str

    def plant(self, planting: Planting) -> None:
        """Replace what is stored."""

    def foreign(self, good: bytes, value: object) -> bytes:
        """Return what is stored for *value*, written by somebody else."""


class _Cacheplug:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ""
        region = CacheRegion(f"file://{folder}/store", secret="a secret")
        region.add_hook(lambda event: setattr(self, "key", event.key))
        self.template = Template(
            _PAGE,
            cache_impl="cacheplug",
            cache_args={"regions": {"r": region}, "region": "r"},
        )
        self._region = region

    def plant(self, planting: Planting) -> None:
        backend = self._region.backend
        for path in self.folder.glob("store/??/*"):
            data = path.read_bytes()
            _, length, _, _ = struct.unpack_from("<4sIQd", data)
            name = data[24 : 24 + length].decode()
            good = backend.get(name)
            if isinstance(good, bytes):
                backend.set(name, planting(self, good), None)

    def foreign(self, good: bytes, value: object) -> bytes:
        if not isinstance(value, str):
            return pickle.dumps(value)
        return EntryCodec().encode(self.key, CacheEntry(value, 1.0))


class _Dogpile:
    key = ""

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / "store.dbm")
        region = make_region().configure(
            "dogpile.cache.dbm", arguments={"filename": self._path}
        )
        self.template = Template(
            _PAGE,
            cache_impl="dogpile.cache",
            cache_args={"regions": {"r": region}, "region": "r"},
        )

    def plant(self, planting: Planting) -> None:
        with dbm.open(self._path, "w") as store:
            for key in list(store.keys()):
                store[key] = planting(self, store[key])

    def foreign(self, good: bytes, value: object) -> bytes:
        # Its metadata as JSON, a bar, and the value.
        return good.partition(b"|")[0] + b"|" + pickle.dumps(value)


class _Beaker:
    key = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Not by a manager: of several, Mako's plugin uses the first.
        self.template = Template(
            _PAGE,
            cache_impl="beaker",
            cache_args={"type": "file", "dir": str(folder)},
        )

    def plant(self, planting: Planting) -> None:
        for path in self._files():
            path.write_bytes(planting(self, path.read_bytes()))

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.rglob("*.cache"))

    def foreign(self, good: bytes, value: object) -> bytes:
        known = pickle.loads(good)
        for key, (stored, expires, _) in known.items():
            known[key] = (stored, expires, value)
        return pickle.dumps(known)


_SITES: Final[dict[str, Callable[[Path], _Site]]] = {
    "cacheplug": _Cacheplug,
    "dogpile.cache": _Dogpile,
    "beaker": _Beaker,
}
