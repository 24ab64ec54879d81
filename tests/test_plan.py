"""A fragment's plan: the keys and labels of its variants."""

from __future__ import annotations

import itertools
from types import FunctionType
from typing import cast

import pytest

from mako_cacheplug import CacheRegion
from mako_cacheplug.exceptions import KeyTypeError
from mako_cacheplug.options import CallOptions
from mako_cacheplug.template.plan import child_token
from mako_cacheplug.template.plan import fragment_prefix
from mako_cacheplug.template.plan import FragmentPlan
from mako_cacheplug.template.plan import variants_label

KEY = "render_f"


def plan(
    namespace: str = "", identity: str = "i", name: str = KEY
) -> FragmentPlan:
    region = CacheRegion(namespace=namespace)
    return FragmentPlan(
        {}, region, CallOptions(), identity, name, KEY, (), False, {}, "here"
    )


def _nothing() -> str:
    return ""


creator = cast("FunctionType", _nothing)


def test_every_difference_is_in_the_key() -> None:
    plans = [plan(), plan("n"), plan("", "j"), plan("", "i", "g")]
    variants = itertools.product(
        plans,
        (KEY, "k", 1, None, ("k", 1)),
        (None, (), "v", ("k",), ("k", 1)),
        ("", child_token("k"), child_token("c")),
    )
    found = [
        one.variant(key, vary, creator, child)[0]
        for one, key, vary, child in variants
    ]
    assert len(set(found)) == len(found) == 4 * 5 * 5 * 3


def test_parts_cannot_run_into_each_other() -> None:
    region = CacheRegion()
    other = CacheRegion(namespace="1:a")
    assert fragment_prefix(region, "1:ab", "c") != fragment_prefix(
        other, "b", "c"
    )
    assert variants_label(region, "a", "b") != fragment_prefix(
        region, "a", "b"
    )


def test_a_fragment_without_variants_needs_no_label() -> None:
    assert plan().variant(KEY, None, creator, "")[1] == ()


@pytest.mark.parametrize(
    ("key", "vary", "child"), [("k", None, ""), (KEY, 1, ""), (KEY, None, "c")]
)
def test_every_variant_has_the_label_of_all(
    key: str, vary: object, child: str
) -> None:
    one = plan()
    assert one.label in one.variant(key, vary, creator, child)[1]


def test_variants_of_one_key_share_its_label() -> None:
    one = plan()
    _, labels = one.variant("k", 1, creator, "")
    _, others = one.variant("k", 2, creator, "")
    _, strange = one.variant("l", 1, creator, "")
    assert labels == others
    assert set(labels) & set(strange) == {one.label}


@pytest.mark.parametrize(("key", "vary"), [(object(), None), (KEY, object())])
def test_what_cannot_be_told_apart_is_refused(
    key: object, vary: object
) -> None:
    with pytest.raises(KeyTypeError, match="object"):
        plan().variant(key, vary, creator, "")
