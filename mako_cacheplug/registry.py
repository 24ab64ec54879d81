"""Entry points to backend classes; one open backend per URL and process."""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Final

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.forks import ForkSafeLock
from mako_cacheplug.options import nearest
from mako_cacheplug.options import StoreURL

__all__ = [
    "GROUP",
    "backend_class",
    "backend_names",
    "chosen_impl",
    "close_backends",
    "is_backend",
    "open_backend",
    "store_url",
]

GROUP: Final = "mako_cacheplug.backends"

_DISTRIBUTIONS: Final = {
    "file": "mako-cacheplug-file",
    "memcached": "mako-cacheplug-memcached",
    "redis": "mako-cacheplug-redis",
}
"""Where the backends live that are not installed with the core."""

_BEAKER_TYPES: Final = {
    "memory": "memory",
    "file": "file",
    "dbm": "file",
    "memcached": "memcached",
    "ext:memcached": "memcached",
}

_guard: Final = ForkSafeLock()
_open: dict[StoreURL, CacheBackend] = {}


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {e.name: e for e in importlib.metadata.entry_points(group=GROUP)}


def is_backend(name: str) -> bool:
    """Tell whether *name* is a backend: installed, or known to exist."""
    return name in backend_names()


def backend_names() -> set[str]:
    """Return the names of all backends: installed, or known to exist."""
    return {*_entry_points(), *_DISTRIBUTIONS}


@functools.cache
def backend_class(name: str) -> type[CacheBackend]:
    """Return the backend registered as *name* in ``mako_cacheplug.backends``.

    :raises OptionError: if there is none, naming what to install or the
        nearest right spelling; or if what is registered is not a backend.
    """
    try:
        point = _entry_points()[name]
    except KeyError:
        if name in _DISTRIBUTIONS:
            message = (
                f"backend {name!r} is not installed: pip install"
                f" {_DISTRIBUTIONS[name]}"
            )
        else:
            message = (
                f"unknown backend {name!r}{nearest(name, backend_names())}"
            )
        raise OptionError(message, option="impl", value=name) from None
    try:
        found = point.load()
    except ImportError as error:
        raise OptionError(
            f"backend {name!r} ({point.value}) cannot be imported: {error}",
            option="impl",
            value=name,
        ) from error
    if not (isinstance(found, type) and issubclass(found, CacheBackend)):
        raise OptionError(
            f"backend {name!r} ({point.value}) is not a CacheBackend",
            option="impl",
            value=name,
        )
    return found


def chosen_impl(level: Mapping[str, str]) -> str | None:
    """Return the backend that one level of options names, if it does.

    :param level: checked options.
    :raises OptionError: for a ``type`` that stands for none.
    """
    if "impl" in level:
        return level["impl"]
    kind = level.get("type")
    if kind is None or is_backend(kind):
        return kind
    try:
        return _BEAKER_TYPES[kind]
    except KeyError:
        raise OptionError(
            f"unknown type {kind!r}{nearest(kind, _BEAKER_TYPES)}",
            option="type",
            value=kind,
        ) from None


def store_url(
    levels: Sequence[Mapping[str, str]],
    default_impl: str = "memory",
    default_dir: str | None = None,
) -> StoreURL:
    """Return the store that several levels of options choose together.

    The strongest ``impl``, ``type`` or ``url`` decides which backend it is;
    the strongest url of that backend decides which store.  A weaker url that
    is another backend's has been replaced and does not count.

    :param levels: checked options, the strongest first.
    :param default_impl: the backend where nobody names one.
    :param default_dir: the folder of a file store where nobody names one.
    :raises OptionError: if what is chosen is no store.
    """
    impl: str | None = None
    bare: str | None = None
    folders = [level["dir"] for level in levels if "dir" in level]
    folder = folders[0] if folders else default_dir
    stronger_dir: str | None = None
    for level in levels:
        impl = impl or chosen_impl(level)
        text = level.get("url")
        if text is not None and "://" not in text:
            bare = bare or text
        elif text is not None:
            url = StoreURL.parse(text)
            if bare is None and impl in (None, url.scheme):
                if stronger_dir is not None and url.scheme == "file":
                    url = url._replace(path="")
                return _with_folder(url, folder)
        stronger_dir = stronger_dir or level.get("dir")
    impl = impl or default_impl
    if bare is not None:
        if impl != "memcached":
            return StoreURL.parse(bare)
        return StoreURL.parse("memcached://" + bare.replace(";", ","))
    return _with_folder(StoreURL(impl), folder)


def _with_folder(url: StoreURL, folder: str | None) -> StoreURL:
    if url.scheme != "file" or url.path:
        return url
    if folder is None:
        raise OptionError(
            "the file store needs a folder: write url='file:///var/cache/app'"
            " or dir='/var/cache/app'",
            option="url",
            value=str(url),
        )
    return url._replace(path=os.path.abspath(folder))


def open_backend(url: StoreURL) -> CacheBackend:
    """Return this process's backend for *url*, opened at the first call.

    Whoever names the same URL shares it, and with it its connections.

    :raises OptionError: if the backend is unknown or refuses the URL.
    """
    backend = _open.get(url)
    if backend is None:
        made = backend_class(url.scheme).from_url(url)
        with _guard:
            backend = _open.setdefault(url, made)
        if backend is not made:
            made.close()
    return backend


def close_backends() -> None:
    """Close every open backend; regions that use them must not go on.

    For the end of a test or of a program.
    """
    with _guard:
        backends = list(_open.values())
        _open.clear()
    for backend in backends:
        backend.close()
