"""A fragment's plan: the keys and labels of its variants."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import FunctionType
from typing import cast

import pytest

from mako_cacheplug import CacheRegion
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.exceptions import OptionError
from mako_cacheplug.nesting import Creation
from mako_cacheplug.options import CallOptions
from mako_cacheplug.region import Fragment
from mako_cacheplug.template.plan import fragment_prefix
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import heirs_token
from mako_cacheplug.template.plan import variants_label

KEY = "render_f"


def plan(
    namespace: str = "",
    identity: str = "i",
    name: str = KEY,
    tags: tuple[str, ...] = (),
) -> FragmentPlan:
    region = CacheRegion(namespace=namespace)
    return FragmentPlan(
        {},
        region,
        CallOptions(tags=tags),
        identity,
        "family",
        name,
        KEY,
        False,
        (),
        False,
        {},
        "here",
        _run,
        True,
    )


def _run(creation: Creation, creator: Callable[[], object]) -> object:
    return creator()


def _nothing() -> str:
    return ""


def variant(
    one: FragmentPlan,
    key: object = KEY,
    vary: object = None,
    heirs: str = "",
    tag_labels: tuple[str, ...] = (),
) -> tuple[str, tuple[str, ...], Fragment]:
    creator = cast("FunctionType", _nothing)
    return one.variant(key, vary, creator, heirs, False, tag_labels)


def test_every_difference_is_in_the_key() -> None:
    plans = [plan(), plan("n"), plan("", "j"), plan("", "i", "g")]
    variants = itertools.product(
        plans,
        (KEY, "k", 1, None, ("k", 1)),
        (None, (), "v", ("k",), ("k", 1)),
        ("", heirs_token(["k"]), heirs_token(["c"]), heirs_token(["k", "c"])),
    )
    found = [
        variant(one, key, vary, heirs)[0] for one, key, vary, heirs in variants
    ]
    assert len(set(found)) == len(found) == 4 * 5 * 5 * 4


def test_parts_cannot_run_into_each_other() -> None:
    region = CacheRegion()
    other = CacheRegion(namespace="1:a")
    assert fragment_prefix(region, "1:ab", "c") != fragment_prefix(
        other, "b", "c"
    )
    assert variants_label(region, "a", "b") != fragment_prefix(
        region, "a", "b"
    )


def test_a_fragment_without_variants_is_removed_with_its_label() -> None:
    one = plan()
    _, labels, fragment = variant(one)
    assert labels == (one.label,)
    assert fragment.is_removed
    assert one.constant == (one.prefix, labels, fragment)


@pytest.mark.parametrize(
    ("key", "vary", "heirs", "tag_labels"),
    [
        ("k", 1, "", ()),
        (KEY, 1, "", ()),
        (KEY, None, "c", ()),
        ("k", None, "c", ("tag",)),
    ],
)
def test_every_variant_has_the_label_of_all_and_is_not_removed(
    key: str, vary: object, heirs: str, tag_labels: tuple[str, ...]
) -> None:
    one = plan()
    _, labels, fragment = variant(one, key, vary, heirs, tag_labels)
    assert one.label in labels
    assert not fragment.is_removed


def test_the_label_is_that_of_all_versions_of_the_template() -> None:
    one, other = plan(identity="i"), plan(identity="j")
    assert one.label == other.label
    assert one.prefix != other.prefix


def test_variants_of_one_key_share_its_label() -> None:
    one = plan()
    labels, others, strange = (
        variant(one, key, vary)[1]
        for key, vary in [("k", 1), ("k", 2), ("l", 1)]
    )
    assert labels == others
    assert set(labels) & set(strange) == {one.label}


def test_a_key_without_variants_has_its_label_and_is_removed_with_it() -> None:
    one = plan()
    _, labels, fragment = variant(one, "k")
    _, variants, _ = variant(one, "k", 1)
    assert labels == variants == (f"{one.label}ks1:k", one.label)
    assert fragment.is_removed


def test_tags_are_labels_of_the_namespace() -> None:
    one = plan("n", tags=("a",))
    assert one.tag_labels == (one.region.tag_label("a"),)
    for tags in ("b c", ["b", "c"], "b c"):
        assert one.labels_of(tags) == (
            one.region.tag_label("b"),
            one.region.tag_label("c"),
        )
    for number in range(1000):
        assert one.labels_of(f"{number}") == (
            one.region.tag_label(str(number)),
        )
    with pytest.raises(OptionError, match="'tags': 5"):
        one.labels_of(5)


@pytest.mark.parametrize(("key", "vary"), [(object(), None), (KEY, object())])
def test_what_cannot_be_told_apart_is_refused(
    key: object, vary: object
) -> None:
    with pytest.raises(KeyTypeError, match="object"):
        variant(plan(), key, vary)
