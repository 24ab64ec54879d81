"""What a call is told apart by, where that is easily missed."""

from __future__ import annotations

from mako_cacheplug import labels


class Compared(str):
    """A text that counts how often it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    count = 0

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return str.__eq__(self, other)


# -- many labels -------------------------------------------------------------


def test_each_of_many_labels_is_not_looked_for_among_all() -> None:
    expected = tuple(Compared(f"label {number}") for number in range(1000))
    pairs = tuple((Compared(label), "version") for label in expected)
    Compared.count = 0
    assert labels._have(pairs, expected)
    assert Compared.count < 3 * len(expected)
    assert not labels._have(pairs[1:], expected)
