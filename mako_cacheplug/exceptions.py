"""The errors of mako_cacheplug: one root, a built-in co-parent where natural.

Every error carries what it complains about as attributes, so that code can
look at it without parsing the message.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "CachePlugError",
    "CodecError",
    "CorruptEntryError",
    "KeyTypeError",
    "NotAskedError",
    "OptionError",
    "UnknownCompressionError",
    "ValueTooLargeError",
]


class CachePlugError(Exception):
    """The root of every error that this package raises."""


class OptionError(CachePlugError, ValueError):
    """An option that is unknown, or whose value cannot be used.

    :param message: what is wrong and what would be right.
    :param option: the option's name as the user typed it.
    :param value: the value as the user typed it.
    :param where: the place it was typed, such as ``def 'card' of
        /shop.mako`` or ``cache_args``; empty if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        option: str = "",
        value: object = None,
        where: str = "",
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.option = option
        self.value = value
        self.where = where

    def at(self, where: str) -> OptionError:
        """Return the same error, placed at *where* if it has no place yet."""
        if self.where or not where:
            return self
        return OptionError(
            self.message, option=self.option, value=self.value, where=where
        )


class CodecError(CachePlugError, TypeError):
    """A value of a type that is not stored.

    :param message: names the type and what can be stored.
    :param value_type: the offending type.
    """

    def __init__(self, message: str, *, value_type: type) -> None:
        super().__init__(message)
        self.value_type = value_type


class CorruptEntryError(CachePlugError, ValueError):
    """Stored bytes that are not an entry under this key.

    Torn, foreign, of another version, signed with another secret, or moved
    here from another key.  A region makes a miss and an event of it.
    """


class UnknownCompressionError(CorruptEntryError):
    """An entry that is compressed with a library this process lacks.

    Another process has it.  The message says what to install.
    """


class KeyTypeError(CachePlugError, TypeError):
    """An argument or key that cannot be told apart by value.

    :param message: names the type and what to write instead.
    :param value_type: the offending type.
    """

    def __init__(self, message: str, *, value_type: type) -> None:
        super().__init__(message)
        self.value_type = value_type


class BackendError(CachePlugError):
    """A store that could not do what it was asked.

    A backend raises it, from its client's own error, for anything that is
    the store's fault: refused, timed out, full, a garbled answer.  A region
    turns it into a miss and an event; only an invalidation lets it through.

    :param message: what was tried and what happened.
    :param url: the store, without secrets; empty if unknown.
    """

    def __init__(self, message: str, *, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class NotAskedError(BackendError):
    """A store that was left alone: it failed just now, or took too long.

    It has not failed anew, so this is no event.  The message says why.
    """


class ValueTooLargeError(BackendError):
    """A payload over the store's limit.

    :param size: the payload's size in bytes.
    :param limit: the store's limit in bytes, or ``None`` if it did not say.
    """

    def __init__(
        self, message: str, *, size: int, limit: int | None, url: str = ""
    ) -> None:
        super().__init__(message, url=url)
        self.size = size
        self.limit = limit
