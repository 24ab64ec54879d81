"""What arguments, tags and nesting add to a hit in memory.

One cached def of 2 KB, called 100 times in a render; the rows take turns in
one process.  ``python -m benchmarks.variants [--rounds N] [--url URL]``
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time

from mako.template import Template

BODY = "x" * 2048
DEFS = {
    "static options only": '"c()"',
    "three arguments": "\"c(a=1, b='two', d=None)\"",
    "two tags": '"c()" cache_tags="news user:42"',
    "two tags, by an expression": '"c()" cache_tags="news user:${user}"',
    "vary, by an expression": '"c()" cache_vary="${(lang, user)}"',
    "a key, by an expression": '"c()" cache_key="c-${user}"',
}


def page(attributes: str) -> str:
    """Return a template that calls one def a hundred times."""
    return (
        f'<%def name={attributes} cached="True">{BODY}</%def>\n'
        "% for i in range(100):\n${c()}\\\n% endfor\n"
    )


def measure(url: str, rounds: int) -> dict[str, list[float]]:
    """Return for each row the µs per hit of every round."""
    given = {"user": "7", "lang": "de"}
    templates = {
        name: Template(
            page(attributes),
            uri=f"/{name}",
            cache_impl="cacheplug",
            cache_args={"url": url},
        )
        for name, attributes in DEFS.items()
    }
    for template in templates.values():
        template.render(**given)
    taken: dict[str, list[float]] = {name: [] for name in templates}
    for _ in range(rounds):
        for name, template in templates.items():
            started = time.perf_counter()
            template.render(**given)
            taken[name].append((time.perf_counter() - started) * 1e4)
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--url", default="memory://")
    arguments = parser.parse_args()
    taken = measure(arguments.url, arguments.rounds)
    first = statistics.median(taken["static options only"])
    print(f"Python {platform.python_version()}, {platform.machine()}")
    print(f"{arguments.url:30} {'µs per hit':>10} {'more':>6} {'ratio':>6}")
    for name, values in taken.items():
        median = statistics.median(values)
        more, ratio = median - first, median / first
        print(f"{name:30} {median:10.2f} {more:6.2f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
