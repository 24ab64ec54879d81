"""Which storage a backend gets, and how entries are coded in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Protocol
from typing import runtime_checkable

from mako_cacheplug import encryption
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import SupportsEntries
from mako_cacheplug.api import SupportsRevalidation
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.coded import CodedStorage
from mako_cacheplug.coded import CopyingStorage
from mako_cacheplug.events import RegionCounters
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.storage import EntryStorage
from mako_cacheplug.storage import EntryTable

__all__ = ["OpensStorage", "codec_of", "open_storage"]


@runtime_checkable
class OpensStorage(Protocol):
    """A backend that is more than one store, and so keeps entries itself."""

    def open_storage(
        self, codec: EntryCodec, counters: RegionCounters
    ) -> EntryStorage:
        """Return how entries are kept in it."""


def open_storage(
    backend: CacheBackend, codec: EntryCodec, counters: RegionCounters
) -> EntryStorage:
    """Return how entries are kept in *backend*.

    As they are, or coded, or in a way that the backend knows.
    """
    if isinstance(backend, OpensStorage):
        return backend.open_storage(codec, counters)
    if isinstance(backend, SupportsEntries):
        return EntryTable(backend, counters)
    if isinstance(backend, SupportsRevalidation) and (
        backend.max_copied_bytes != 0
    ):
        return CopyingStorage(backend, codec, counters)
    return CodedStorage(backend, codec, counters)


def codec_of(checked: Mapping[str, Any], where: str) -> EntryCodec:
    """Return how the entries of a region are coded.

    :param checked: its options, parsed.
    :param where: where they were typed, for the error.
    :raises OptionError: if they cannot be encrypted as that says.
    """
    secrets: tuple[bytes, ...] = checked.get("secret", ())
    encrypts: bool = checked.get("encrypt", False)
    if encrypts:
        if not secrets:
            raise OptionError(
                "option 'encrypt' needs a 'secret', of which the keys are"
                " made",
                option="encrypt",
                where=where,
            )
        try:
            encryption.require()
        except OptionError as error:
            raise error.at(where) from None
    return EntryCodec(secrets, encrypts)
