"""A fuzzer that sees which lines its inputs reach tries the codec.

Atheris, which is libFuzzer for Python, runs in a process of its own: with a
limit on memory and on the time of one input, and the crash of a library
counts as well as an exception.  Some inputs are payloads as they stand;
others get a right check, by which the parser behind it is reached.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from campaigns.findings import Finding
from campaigns.findings import Scale

__all__ = ["CONTENDERS", "run"]

CONTENDERS: Final = ("cacheplug",)

SECONDS: Final = {Scale.SHORT: 3, Scale.LONG: 600}
MOST_MIB: Final = 1024
MOST_SECONDS: Final = 5

_KEY: Final = "key"
_SECRET: Final = b"secret"


def run(contender: str, scale: Scale) -> list[Finding]:
    """Return what the fuzzer found."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        fuzzer = subprocess.run(
            [
                *(sys.executable, "-m", __name__, str(corpus)),
                f"-artifact_prefix={folder}/",
                f"-max_total_time={SECONDS[scale]}",
                f"-rss_limit_mb={MOST_MIB}",
                f"-timeout={MOST_SECONDS}",
                *("-max_len=65536", "-print_final_stats=1", "-seed=1"),
            ],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=SECONDS[scale] + 120,
        )
        crashes = [
            path for path in Path(folder).iterdir() if path.name != "corpus"
        ]
        found = [
            f"{path.name}: {path.read_bytes()[:99]!r}" for path in crashes
        ]
    stats = {
        name: float(value)
        for line in fuzzer.stderr.splitlines()
        if line.startswith("stat::")
        for name, value in [line.removeprefix("stat::").split(":")]
    }
    last = fuzzer.stderr[-2000:] if fuzzer.returncode else ""
    return [
        Finding(
            contender,
            "inputs",
            stats.get("number_of_executed_units", 0),
            least=1,
        ),
        Finding(
            contender,
            "crashes, hangs and other errors than a miss",
            len(found) or abs(fuzzer.returncode),
            most=0,
            note="; ".join(found) or last,
        ),
        Finding(
            contender, "memory", stats.get("peak_rss_mb", 0), "MiB", MOST_MIB
        ),
        Finding(
            contender,
            "slowest input",
            stats.get("slowest_unit_time_sec", 0),
            "s",
            MOST_SECONDS,
        ),
    ]


def _fuzz(corpus: Path) -> None:
    """Run in a process of its own; ends it."""
    import atheris

    with atheris.instrument_imports(
        include=["mako_cacheplug.codec", "mako_cacheplug.compression"]
    ):
        from mako_cacheplug import codec as codecs
        from mako_cacheplug import encryption
    from campaigns.mutated_entries import entries
    from mako_cacheplug.exceptions import CorruptEntryError
    from mako_cacheplug.template.holes import BadDonutError
    from mako_cacheplug.template.holes import read_donut
    from mako_cacheplug.testing.payloads import forged
    from mako_cacheplug.testing.payloads import trapped

    plain = codecs.EntryCodec()
    signing = codecs.EntryCodec((_SECRET,))
    encrypting = codecs.EntryCodec((_SECRET,), encrypts=True)
    ways: list[tuple[codecs.EntryCodec, Callable[[bytes], bytes]]] = [
        (plain, lambda data: data),
        (signing, lambda data: data),
        (encrypting, lambda data: data),
        (plain, lambda data: forged(_KEY, data)),
        (signing, lambda data: data + codecs.sign(_SECRET, _KEY, data)),
        (encrypting, lambda data: encryption.seal(_SECRET, _KEY, data)),
    ]

    def try_one(data: bytes) -> None:
        codec, finished = ways[data[0] % len(ways) if data else 0]
        try:
            entry = codec.decode(_KEY, finished(data[1:]))
            read_donut(codecs.load_value(entry.value))
        except (CorruptEntryError, BadDonutError):
            pass

    seeds = [plain.encode(_KEY, entry, 0) for entry in entries()]
    for number, payload in enumerate([*seeds, *trapped(_KEY).values()]):
        corpus.joinpath(str(number)).write_bytes(b"\3" + payload[:-4])
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    _fuzz(Path(sys.argv[1]))
