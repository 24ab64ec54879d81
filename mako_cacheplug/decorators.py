"""``cached()``: the regions of the templates, for functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any
from typing import cast
from typing import Generic
from typing import ParamSpec
from typing import TypeVar

from mako_cacheplug import keys
from mako_cacheplug import options
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.regions import get_region

__all__ = ["CachedFunction", "cached"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def cached(
    region: str | CacheRegion,
    namespace: str = "",
    *,
    key: Callable[..., object] | None = None,
    **given: object,
) -> Callable[[Callable[_P, _R]], CachedFunction[_P, _R]]:
    """Cache what a function returns, by its arguments.

    ::

        @cached(region="short", namespace="shop", timeout="5m")
        def prices(country, currency="EUR"): ...

        prices("de")
        prices.invalidate("de")
        prices.refresh("de")

    ``f(1, 2)`` and ``f(x=1, y=2)`` are the same call, 1 and ``"1"`` are not.

    :param region: a region, or the name of one that may be configured
        later, before the first call.
    :param namespace: keeps functions of one name apart.
    :param key: called with the arguments; returns what to key on instead,
        for arguments that cannot be in a key (``key=lambda user: user.id``).
    :param given: options of the calls (``timeout``, ``grace``, ``tags``, …).
    :raises OptionError: for an option that is unknown or wrong, and for a
        coroutine function.
    """
    options.check_options(given, "cached()", allowed=options.CALL_ONLY)

    def decorate(function: Callable[_P, _R]) -> CachedFunction[_P, _R]:
        return CachedFunction(function, region, namespace, key, given)

    return decorate


class CachedFunction(Generic[_P, _R]):
    """A function whose results a region keeps.  Safe in threads.

    ``__wrapped__`` is the function itself.
    """

    def __init__(
        self,
        function: Callable[_P, _R],
        region: str | CacheRegion,
        namespace: str,
        key: Callable[..., object] | None,
        given: dict[str, object],
    ):
        own_name = getattr(function, "__qualname__", None)
        if own_name is None or ("<lambda>" in own_name and not namespace):
            raise OptionError(
                f"cached() on {function!r}: it has no name of its own to be"
                " cached under; decorate a function made with def"
                + (", or give a namespace" if own_name else ""),
                value=function,
            )
        name = f"{function.__module__}.{own_name}"
        if inspect.iscoroutinefunction(function):
            raise OptionError(
                f"cached() on {name}: a coroutine cannot be cached",
                value=function,
            )
        functools.update_wrapper(self, function)
        self._function = function
        self._name = name
        self._namespace = namespace
        self._key = key
        self._given = given
        self._signature = inspect.signature(function)
        self._keywords = next(
            (
                parameter.name
                for parameter in self._signature.parameters.values()
                if parameter.kind is parameter.VAR_KEYWORD
            ),
            None,
        )
        self._region = region
        self._resolved: tuple[CacheRegion, CallOptions, str] | None = None

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        region, call, prefix = self._resolve()
        value = region.fetch(
            prefix + self._token(args, kwargs),
            lambda: self._function(*args, **kwargs),
            call,
        )
        return cast("_R", value)

    def __reduce__(self) -> str:
        # Pickled and copied like any function: by name.
        return cast("str", self.__dict__["__qualname__"])

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function; ``invalidate`` then takes the instance."""
        if instance is None:
            return self
        return functools.partial(cast("Callable[..., _R]", self), instance)

    def invalidate(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Remove the value of the call with these arguments.

        :raises BackendError: if the store could not be reached.
        """
        region, _, prefix = self._resolve()
        region.discard(prefix + self._token(args, kwargs))

    def refresh(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call the function now; store and return what it returns.

        :raises CodecError: if the value is of a type that is not stored.
        :raises Exception: whatever the function raises; the old value stays.
        """
        region, call, prefix = self._resolve()
        value = region.recreate(
            prefix + self._token(args, kwargs),
            lambda: self._function(*args, **kwargs),
            call,
        )
        return cast("_R", value)

    def _resolve(self) -> tuple[CacheRegion, CallOptions, str]:
        region = self._region
        if not isinstance(region, CacheRegion):
            # By name: looked up at each call, so that configure_regions()
            # may come later, and again.
            try:
                region = get_region(region)
            except OptionError as error:
                raise error.at(f"cached() on {self._name}") from None
        if self._resolved is None or self._resolved[0] is not region:
            prefix = keys.join(
                "call", region.scope, self._namespace, self._name
            )
            self._resolved = (
                region,
                region.call_options(self._given),
                prefix,
            )
        return self._resolved

    def _token(self, args: tuple[object, ...], kwargs: dict[str, Any]) -> str:
        try:
            if self._key is not None:
                return keys.token(self._key(*args, **kwargs))
            bound = self._signature.bind(*args, **kwargs)
            bound.apply_defaults()
            if self._keywords is not None:
                # Their order is the caller's whim.
                given = bound.arguments[self._keywords]
                bound.arguments[self._keywords] = dict(sorted(given.items()))
            return keys.token(bound.arguments)
        except KeyTypeError as error:
            raise KeyTypeError(
                f"{self._name}: {error}; write cached(..., key=lambda ...:"
                " ...) with what tells two calls apart",
                value_type=error.value_type,
            ) from None
