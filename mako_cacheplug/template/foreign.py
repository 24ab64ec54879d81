"""Fragments that another plugin of Mako's stores.

``cache_impl`` on a tag can name one, such as Beaker: it gets the options that
it knows, and nothing that must not be stored.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from mako_cacheplug.labels import LabelVersions
from mako_cacheplug.nesting import Creation

__all__ = ["ForeignPlace", "PluginImpl"]


class PluginImpl(Protocol):
    """What is needed of another plugin's ``CacheImpl``."""

    pass_context: bool

    def get_or_create(
        self, key: Any, creation_function: Any, **kw: Any
    ) -> Any:
        """As in Mako."""

    def invalidate(self, key: Any, **kw: Any) -> None:
        """As in Mako."""


class ForeignPlace(NamedTuple):
    """Another plugin's impl, and the options to hand to it."""

    impl: PluginImpl
    options: dict[str, object]

    def get_or_create(
        self, key: object, creator: Callable[[], object]
    ) -> object:
        """Return what the plugin has, or what *creator* makes.

        The plugin stores whatever it is given, and knows nothing of holes
        and ``nocache()``.  What must not be stored goes past it: a creator
        that raises stores nothing in any cache.
        """
        own = object()

        def create() -> object:
            with Creation(_NoLabels(), "") as creation:
                shown = creator()
            if creation.is_storable:
                return shown
            raise _NotStored(own, shown)

        try:
            return self.impl.get_or_create(key, create, **self.options)
        except _NotStored as past:
            if past.owner is not own:
                raise
            return past.shown


class _NotStored(Exception):  # noqa: N818  # no error: it carries a value
    """What a creator made and no plugin may store.

    :param owner: who raises it, and catches it.
    :param shown: what the creator made.
    """

    def __init__(self, owner: object, shown: object):
        super().__init__("not to be stored")
        self.owner = owner
        self.shown = shown


class _NoLabels(LabelVersions):
    """Of what another plugin stores: no label of ours can reach it."""

    def __init__(self) -> None:
        pass

    def are_those_of(self, other: LabelVersions) -> bool:
        return True

    def current(
        self,
        labels: Iterable[str],
        seen: object = None,
        budget: object = None,
    ) -> tuple[tuple[str, str], ...]:
        return ()
