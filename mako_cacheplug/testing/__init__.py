"""The conformance kit: what every store must do, as tests that ship.

The author of a store writes ``tests/test_conformance.py``::

    class ShelfHarness(StoreHarness):
        def __init__(self, folder: Path) -> None:
            self.path = folder / "shelf"

        def url(self) -> str:
            return f"shelf://{self.path}"

        def raw_get(self, key: str) -> bytes | None:
            return shelf.read(self.path, key)

        def raw_set(self, key: str, payload: bytes) -> None:
            shelf.write(self.path, key, payload)

        @contextlib.contextmanager
        def unavailable(self) -> Iterator[None]:
            self.path.chmod(0)
            yield
            self.path.chmod(0o600)


    class TestConformance(ConformanceSuite):
        supports = (SupportsClear, SupportsUsage)

        @pytest.fixture
        def harness(self, tmp_path: Path) -> ShelfHarness:
            return ShelfHarness(tmp_path)

``supports`` names the protocols that the store has.  It is checked: one that
is declared and missing, or there and not declared, is a failure.  What a
store does otherwise on purpose is declared in ``deviations``, with its
reason; see :class:`~mako_cacheplug.testing.suite.ConformanceSuite`.  A store
that can be away in another way too, such as a server that hangs, is given to
``FailureSuite`` again with a harness that does that.

The names of this module need pytest, ``servers`` and ``wire`` do not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mako_cacheplug.testing.harness import ManualClock
    from mako_cacheplug.testing.harness import StoreHarness
    from mako_cacheplug.testing.suite import ConformanceSuite
    from mako_cacheplug.testing.suite import FailureSuite

__all__ = ["ConformanceSuite", "FailureSuite", "ManualClock", "StoreHarness"]

_HOMES = {
    "ConformanceSuite": "suite",
    "FailureSuite": "suite",
    "ManualClock": "harness",
    "StoreHarness": "harness",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(home, name)
