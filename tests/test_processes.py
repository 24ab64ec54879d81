"""The life of a process: how it begins, and how it ends, with caches in it."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mako_cacheplug import cached
from mako_cacheplug.api import CacheBackend
from mako_cacheplug.region import CacheRegion
from mako_cacheplug.testing.servers import MemcachedServer

LIMIT = 60.0


def run_script(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run *script* in a process of its own, with warnings shown."""
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(script), *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


# -- spawn --------------------------------------------------------------------


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_region_and_its_store_stay_in_their_process(
    act: object, url: str
) -> None:
    region = CacheRegion(url, name="r")
    store: CacheBackend = region.backend
    with pytest.raises(TypeError, match="region 'r' cannot be pickled"):
        act(region)
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        act(store)


_FUNCTIONS = '''
import sys
from mako_cacheplug import CacheRegion, cached

REGION = CacheRegion("memory://")

@cached(REGION)
def double(number):
    """Return twice as much."""
    return str(2 * number)

class Maker:
    @cached(REGION)
    def make(self):
        return "made"
'''


def test_a_cached_function_is_pickled_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is started afresh has its own, over its own region."""
    (tmp_path / "cached_elsewhere.py").write_text(_FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import cached_elsewhere  # type: ignore[import-not-found]  # written above

    double = cached_elsewhere.double
    for function in (double, cached_elsewhere.Maker.make):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(double, [1, 2]) == ["2", "4"]


def test_a_function_in_a_function_is_not_pickled() -> None:
    @cached(CacheRegion("memory://"))
    def inner() -> str:
        return ""

    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(inner)


# -- the end ------------------------------------------------------------------

_ENDS = {
    "a creation in threads that are not waited for": """
        for _ in range(4):
            threading.Thread(
                target=region.get_or_create, args=("k", make), daemon=True
            ).start()
        making.wait()
        """,
    "in a creator": """
        region.get_or_create("k", lambda: sys.exit(0))
        """,
    "use at exit": """
        atexit.register(region.get_or_create, "late", lambda: "v", tags="t")
        region.get_or_create("k", lambda: "v", tags="t")
        """,
    "use by what is freed last": """
        class Last:
            def __del__(self):
                region.get_or_create("late", lambda: "v", tags="t")
                region.invalidate("late")
        last = Last()
        region.get_or_create("k", lambda: "v", tags="t")
        """,
    "threads in full use": """
        def use():
            for number in itertools.count():
                region.get_or_create(number % 50, lambda: "v", tags="t")
                if number == 100:
                    making.set()
        for _ in range(3):
            threading.Thread(target=use, daemon=True).start()
        making.wait()
        """,
}


@pytest.mark.parametrize("end", _ENDS)
def test_a_process_ends_in_silence(end: str, url: str) -> None:
    begin = """
        import atexit, itertools, sys, threading
        from mako_cacheplug import CacheRegion
        region = CacheRegion(sys.argv[1], lease=1)
        making = threading.Event()
        def make():
            making.set()
            threading.Event().wait()
        """
    script = textwrap.dedent(begin) + textwrap.dedent(_ENDS[end])
    ended = run_script(script, url)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_what_is_held_back_is_stored_at_the_end(
    server: MemcachedServer,
) -> None:
    """Others would wait for its locks as for those of a dead process."""
    script = """
        import io, sys
        from mako.lookup import TemplateLookup
        from mako.runtime import Context
        from mako_cacheplug import write_behind
        write_behind.HELD_BACK_SECONDS = 1e9
        lookup = TemplateLookup(cache_impl="cacheplug", cache_args={
            "url": sys.argv[1], "namespace": "the end"})
        lookup.put_string("p", '''
            <%def name="a()" cached="True">${made("a")}</%def>
            <%def name="b()" cached="True">${made("b")}</%def>
            ${a()} ${leave()} ${b()}''')
        def leave():
            if sys.argv[2] == "leaves":
                sys.exit(0)
            return ""
        print(lookup.get_template("p").render(
            made=lambda name: sys.argv[2] + " " + name, leave=leave).split())
        """
    left = run_script(script, server.url, "leaves")
    assert (left.returncode, left.stdout, left.stderr) == (0, "", "")
    later = run_script(script, server.url, "later")
    assert later.stdout.split() == ["['leaves',", "'a',", "'later',", "'b']"]


# -- an interpreter beside the main one ---------------------------------------


_PROGRAM = """
from mako.lookup import TemplateLookup

lookup = TemplateLookup(cache_impl="cacheplug", cache_args={"url": url})
lookup.put_string(
    "p",
    '<%def name="a()" cached="True">a</%def>${a()}'
    '<%def name="b()" cached="True">b</%def>${b()}',
)
for _ in range(2):
    assert lookup.get_template("p").render() == "ab"
"""


def test_an_interpreter_beside_the_main_one(url: str) -> None:
    """It has stores and regions of its own."""
    script = """
        import sys
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        setup = f"import sys; sys.path[:] = {sys.path}; url = {sys.argv[1]!r}"
        for _ in range(2):
            one = interpreters.create()
            failed = interpreters.run_string(one, setup + sys.argv[2])
            assert not failed, failed
            interpreters.destroy(one)
        print("ended")
        """
    if sys.version_info >= (3, 12) and url.startswith("memcached"):
        # pylibmc is of the main interpreter alone there.
        url += "?client=pymemcache"
    ended = run_script(script, url, _PROGRAM)
    assert (ended.stdout, ended.stderr) == ("ended\n", "")
