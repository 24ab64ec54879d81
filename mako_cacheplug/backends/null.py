"""A store that keeps nothing: switches caching off by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mako_cacheplug.api import CacheBackend
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.api import NoValue

if TYPE_CHECKING:
    from typing_extensions import Self

    from mako_cacheplug.options import StoreURL

__all__ = ["NullBackend"]


class NullBackend(CacheBackend):
    """Every ``get`` is a miss; ``null://`` takes no options.

    The dogpile lock still holds: callers that arrive during a creation get
    its value.
    """

    @classmethod
    def from_url(cls, url: StoreURL) -> Self:
        url.take()
        return cls()

    def get(self, key: str) -> bytes | NoValue:
        return NO_VALUE

    def set(self, key: str, payload: bytes, ttl: float | None) -> None:
        pass

    def delete(self, key: str) -> None:
        pass

    def claim(self, key: str) -> None:
        """Return ``None``: nothing will be stored."""

    def check_and_set(
        self, key: str, payload: bytes, ttl: float | None, claim: object
    ) -> bool:
        """Return ``False``: nothing was stored."""
        return False

    def clear(self) -> None:
        pass

    def close(self) -> None:
        pass
