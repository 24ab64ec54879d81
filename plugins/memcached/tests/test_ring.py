"""Where keys live."""

from __future__ import annotations

from collections import Counter

from mako_cacheplug_memcached._ring import Ring

KEYS = [f"key{number}".encode() for number in range(4000)]


def ring(*names: str) -> Ring[str]:
    return Ring({name: name for name in names})


def test_the_order_of_servers_does_not_matter() -> None:
    one, other = ring("a:1", "b:1", "c:1"), ring("c:1", "a:1", "b:1")
    assert [one.find(k) for k in KEYS] == [other.find(k) for k in KEYS]


def test_places_are_the_same_in_every_process_and_version() -> None:
    three = ring("10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211")
    hosts = [three.find(key)[7] for key in KEYS[:16]]
    assert "".join(hosts) == "3133113321121133"


def test_servers_get_similar_shares() -> None:
    four = ring("a:1", "b:1", "c:1", "d:1")
    counts = Counter(four.find(key) for key in KEYS)
    assert len(counts) == 4
    assert min(counts.values()) > 600


def test_a_new_server_takes_its_share_and_moves_nothing_else() -> None:
    before, after = ring("a:1", "b:1", "c:1"), ring("a:1", "b:1", "c:1", "d:1")
    moved = [k for k in KEYS if before.find(k) != after.find(k)]
    assert {after.find(key) for key in moved} == {"d:1"}
    assert 600 < len(moved) < 1400


def test_the_second_is_where_a_key_is_without_its_own() -> None:
    names = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211"]
    three = ring(*names)
    for number in range(300):
        key = f"k{number}".encode()
        own = three.find(key)
        others = ring(*(name for name in names if name != own))
        assert three.second(key) == others.find(key) != own
    one = ring(names[0])
    assert one.second(b"k") == one.find(b"k")
