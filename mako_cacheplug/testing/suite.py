"""All suites in one class, with what a store declares about itself."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import ClassVar
from typing import Final

import pytest

from mako_cacheplug import api

_REWRITTEN = (
    "claims",
    "contract",
    "failure",
    "forks",
    "herd",
    "hostile",
    "invalidation",
    "keys",
    "mutex",
    "pages",
    "powers",
    "processes",
    "revalidation",
    "running",
)

# Before the suites are imported: their assertions then tell what differs.
# What somebody has imported already is left as it is.
for _name in _REWRITTEN:
    if f"{__package__}.{_name}" not in sys.modules:
        pytest.register_assert_rewrite(f"{__package__}.{_name}")

from mako_cacheplug.testing.base import Suite  # noqa: E402  # see above
from mako_cacheplug.testing.claims import CheckAndSetEntriesSuite  # noqa: E402
from mako_cacheplug.testing.claims import CheckAndSetProcessSuite  # noqa: E402
from mako_cacheplug.testing.claims import CheckAndSetSuite  # noqa: E402
from mako_cacheplug.testing.contract import ContractSuite  # noqa: E402
from mako_cacheplug.testing.failure import FailureSuite  # noqa: E402
from mako_cacheplug.testing.forks import ForkSuite  # noqa: E402
from mako_cacheplug.testing.herd import HerdSuite  # noqa: E402
from mako_cacheplug.testing.hostile import HostileBytesSuite  # noqa: E402
from mako_cacheplug.testing.hostile import HostileLockSuite  # noqa: E402
from mako_cacheplug.testing.invalidation import InvalidationSuite  # noqa: E402
from mako_cacheplug.testing.keys import KeySuite  # noqa: E402
from mako_cacheplug.testing.mutex import MutexSuite  # noqa: E402
from mako_cacheplug.testing.mutex import ReleaseManySuite  # noqa: E402
from mako_cacheplug.testing.pages import MakoSuite  # noqa: E402
from mako_cacheplug.testing.powers import AddSuite  # noqa: E402
from mako_cacheplug.testing.powers import BulkSuite  # noqa: E402
from mako_cacheplug.testing.powers import ClearSuite  # noqa: E402
from mako_cacheplug.testing.powers import EntriesSuite  # noqa: E402
from mako_cacheplug.testing.powers import PruneSuite  # noqa: E402
from mako_cacheplug.testing.powers import UsageSuite  # noqa: E402
from mako_cacheplug.testing.powers import WatchSuite  # noqa: E402
from mako_cacheplug.testing.processes import ProcessSuite  # noqa: E402
from mako_cacheplug.testing.revalidation import RevalidationSuite  # noqa: E402

__all__ = ["PROTOCOLS", "SUITES", "ConformanceSuite", "FailureSuite"]

PROTOCOLS: Final = (
    api.SupportsAdd,
    api.SupportsBulk,
    api.SupportsCheckAndSet,
    api.SupportsCheckAndSetEntries,
    api.SupportsClear,
    api.SupportsEntries,
    api.SupportsMutex,
    api.SupportsPrune,
    api.SupportsReleaseMany,
    api.SupportsRevalidation,
    api.SupportsUsage,
    api.SupportsWatch,
)


def _tests(suite: type[Suite]) -> Iterator[str]:
    return (name for name in vars(suite) if name.startswith("test_"))


class ConformanceSuite(
    ContractSuite,
    KeySuite,
    AddSuite,
    BulkSuite,
    ClearSuite,
    EntriesSuite,
    PruneSuite,
    UsageSuite,
    WatchSuite,
    RevalidationSuite,
    CheckAndSetSuite,
    CheckAndSetEntriesSuite,
    CheckAndSetProcessSuite,
    MutexSuite,
    ReleaseManySuite,
    FailureSuite,
    HostileBytesSuite,
    HostileLockSuite,
    ForkSuite,
    HerdSuite,
    InvalidationSuite,
    ProcessSuite,
    MakoSuite,
):
    """Everything that the kit checks; subclass it and define ``harness``.

    Nothing disappears silently.  Each protocol has a line of its own,
    ``test_supports[...]``, which fails if the declaration is wrong.  Each
    deviation shows as an expected failure with its reason.
    """

    supports: ClassVar[tuple[type, ...]] = ()
    """The ``Supports…`` protocols that the store has."""

    deviations: ClassVar[Mapping[str, str]] = {}
    """What the store does otherwise on purpose, each with the reason.

    By the name of a suite, which is then left out, or of a test, which must
    then fail: a deviation that is none any more is a failure.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        left_out = []
        for suite in SUITES:
            reason = cls.deviations.get(suite.__name__)
            if reason is not None:
                left_out.append(_line(suite.__name__, reason))
            if reason is not None or (
                suite.requires is not None
                and suite.requires not in cls.supports
            ):
                for name in _tests(suite):
                    setattr(cls, name, None)
            else:
                # The parent class may have left them out.
                for name in _tests(suite):
                    if getattr(cls, name) is None:
                        setattr(cls, name, vars(suite)[name])
        _declare(cls, "test_supports", _check_protocol, cls._protocol_lines())
        if left_out:
            _declare(cls, "test_left_out", _check_nothing, left_out)
        cls._expect_failures()

    @classmethod
    def _protocol_lines(cls) -> list[Any]:
        return [
            pytest.param(
                protocol,
                protocol in cls.supports,
                id=("" if protocol in cls.supports else "no ")
                + protocol.__name__,
            )
            for protocol in PROTOCOLS
        ]

    @classmethod
    def _expect_failures(cls) -> None:
        suites = {suite.__name__ for suite in SUITES}
        tests = {name for suite in SUITES for name in _tests(suite)}
        for name, reason in cls.deviations.items():
            if not reason.strip():
                raise TypeError(f"the deviation {name!r} has no reason")
            if name in suites:
                continue
            if name not in tests:
                near = difflib.get_close_matches(name, suites | tests, n=1)
                raise TypeError(
                    f"deviation {name!r} is no suite and no test of the kit"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )
            test = getattr(cls, name)
            if test is not None:
                mark = pytest.mark.xfail(strict=True, reason=reason)
                setattr(cls, name, mark(_copy(test)))


SUITES: Final = tuple(
    suite
    for suite in ConformanceSuite.__mro__
    if issubclass(suite, Suite) and suite not in (Suite, ConformanceSuite)
)


def _line(suite: str, reason: str) -> Any:
    mark = pytest.mark.xfail(run=False, reason=reason)
    return pytest.param(suite, reason, id=suite, marks=mark)


def _declare(
    cls: type, name: str, check: Callable[..., None], lines: list[Any]
) -> None:
    arguments = (
        "protocol, declared" if check is _check_protocol else ("suite, reason")
    )
    setattr(cls, name, pytest.mark.parametrize(arguments, lines)(_copy(check)))


def _copy(test: Callable[..., None]) -> Callable[..., None]:
    """Return *test* as a function of its own, to be marked for one class."""

    @functools.wraps(test)
    def copy(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)

    # wraps() shares the list that the marks are kept in.
    copy.pytestmark = list(getattr(test, "pytestmark", ()))  # type: ignore[attr-defined]  # pytest's attribute
    return copy


def _check_protocol(
    self: ConformanceSuite,
    backend: api.CacheBackend,
    protocol: type,
    declared: bool,
) -> None:
    """The store has the protocol if, and only if, that is declared."""
    assert isinstance(backend, protocol) is declared


def _check_nothing(self: ConformanceSuite, suite: str, reason: str) -> None:
    """Stand for a suite that was left out, with its reason."""
