"""A plugin of pytest's: of tests on several stores, the one on memory.

It says which Mako they run on.
"""

from __future__ import annotations

from pathlib import Path

import mako
import pytest

OTHERS = {"file", "memcached", "another process", "two stores"}


def pytest_report_header() -> str:
    return f"Mako {mako.__version__} in {Path(mako.__file__).parent.parent}"


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    kept, left_out = [], []
    for item in items:
        spec = getattr(item, "callspec", None)
        values = [] if spec is None else [*spec.params.values()]
        stores = {
            one
            for value in values
            for one in (value if isinstance(value, tuple) else (value,))
            if isinstance(one, str)
        }
        (left_out if stores & OTHERS else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)
