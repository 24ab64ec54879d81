"""Short passes of the campaigns in ``benchmarks/``, so that they stay true.

Figures are theirs; here it is what must hold on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import circles
from benchmarks import dead_creator
from benchmarks import herd
from benchmarks.crowds import open_ours


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    with herd.stores() as found:
        yield found


@pytest.mark.parametrize("store", ["memory", "file", "memcached"])
@pytest.mark.parametrize(("processes", "threads"), [(1, 32), (8, 4)])
def test_a_herd_creates_once(
    urls: dict[str, str], store: str, processes: int, threads: int
) -> None:
    alone = processes if store == "memory" else 1
    openers = {store: open_ours(urls[store])}
    with herd.Herd(openers, processes, threads) as crowd:
        for trial in range(2):
            for _ in ("cold", "expired"):
                calls = crowd.ask(store, f"{processes} {trial}")
                assert len(calls) == processes * threads
                assert sum(call.created for call in calls) == alone
                crowd.expire(store)


@pytest.mark.parametrize("store", ["file", "memcached"])
def test_a_killed_creator_delays_the_others_by_no_more_than_the_lease(
    urls: dict[str, str], store: str
) -> None:
    served = dead_creator.measure(urls[store], "killed", lease=2.0)
    # Far from wait (60 s) and from the creation (600 s).
    assert max(served) < (1.0 if store == "file" else 4.0)


def test_nobody_waits_in_a_circle() -> None:
    slowest, most = circles.measure(circles=False, rounds=100)
    assert slowest < circles.WAIT_SECONDS / 6
    assert most == 1
    slowest, _ = circles.measure(circles=True, rounds=100)
    assert slowest < circles.WAIT_SECONDS / 6
