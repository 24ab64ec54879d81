"""Others may hold an encrypted entry; they learn its size, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mako.lookup import TemplateLookup
from plain_memory import PlainMemory

from mako_cacheplug import CacheRegion
from mako_cacheplug import encryption
from mako_cacheplug import OptionError
from mako_cacheplug.api import NO_VALUE
from mako_cacheplug.codec import EntryCodec
from mako_cacheplug.entry import CacheEntry
from mako_cacheplug.exceptions import CorruptEntryError

ENTRY = CacheEntry("value", 1.0, 2.0, 0.5, (("label", "version"),))


def encrypting(*secrets: bytes) -> EntryCodec:
    return EntryCodec(secrets, encrypts=True)


def test_nothing_of_an_entry_can_be_seen() -> None:
    codec = encrypting(b"secret")
    payload = codec.encode("k", ENTRY)
    again = codec.encode("k", ENTRY)
    assert codec.decode("k", payload) == codec.decode("k", again) == ENTRY
    for text in (b"value", b"label", b"version", b"secret"):
        assert text not in payload
    # All of it differs but the format's own four bytes and the length.
    assert payload[:4] == again[:4] == b"mcp\x82"
    assert len(payload) == len(again)
    assert payload[4:16] != again[4:16]
    assert payload[16:32] != again[16:32]


def test_an_older_secret_still_decrypts_and_the_first_encrypts() -> None:
    old, new = encrypting(b"old"), encrypting(b"new")
    rotating = encrypting(b"new", b"old")
    assert rotating.decode("k", old.encode("k", ENTRY)) == ENTRY
    assert new.decode("k", rotating.encode("k", ENTRY)) == ENTRY
    with pytest.raises(CorruptEntryError, match="by any of the secrets"):
        new.decode("k", old.encode("k", ENTRY))


def test_an_entry_is_refused_under_another_key() -> None:
    codec = encrypting(b"secret")
    with pytest.raises(CorruptEntryError):
        codec.decode("other", codec.encode("k", ENTRY))


def test_each_logical_key_has_a_key_of_its_own() -> None:
    """So that random nonces last; and it is authenticated as well."""
    nonce = bytes(12)
    one, other = (encryption._cipher(b"s", name) for name in (b"1", b"2"))
    assert one.encrypt(nonce, b"text", None) != other.encrypt(
        nonce, b"text", None
    )
    text = one.encrypt(nonce, b"text", b"2")
    with pytest.raises(CorruptEntryError):
        encryption.unseal((b"s",), "1", b"mcp\x82" + nonce + text)
    text = one.encrypt(nonce, b"text", b"1")
    sealed = b"mcp\x82" + nonce + text
    assert encryption.unseal((b"s",), "1", sealed) == b"text"


@pytest.mark.parametrize(
    "other", [EntryCodec(), EntryCodec((b"secret",)), encrypting(b"secret")]
)
@pytest.mark.parametrize(
    "codec", [EntryCodec(), EntryCodec((b"secret",)), encrypting(b"secret")]
)
def test_regions_that_encrypt_and_others_do_not_read_each_other(
    codec: EntryCodec, other: EntryCodec
) -> None:
    payload = codec.encode("k", ENTRY)
    if codec == other:
        assert other.decode("k", payload) == ENTRY
    else:
        with pytest.raises(CorruptEntryError):
            other.decode("k", payload)


@pytest.mark.parametrize("length", [0, 3, 4, 15, 16, 31, 32, 48])
def test_what_is_too_short_is_refused(length: int) -> None:
    codec = encrypting(b"secret")
    with pytest.raises(CorruptEntryError):
        codec.decode("k", codec.encode("k", ENTRY)[:length])


def test_a_region_encrypts_entries_and_labels() -> None:
    store = PlainMemory()
    region = CacheRegion(store, secret="s", encrypt=True, tags="news")
    plain = CacheRegion(store, secret="s", tags="news")
    assert region.get_or_create("k", lambda: "made " * 2000) == "made " * 2000
    assert region.get_or_create("k", lambda: "again") == "made " * 2000
    payloads = list(store.memory._table.values())
    assert len(payloads) >= 2
    assert all(payload.startswith(b"mcp\x82") for payload in payloads)
    assert plain.get("k") is None
    region.invalidate_tags("news")
    assert region.get_or_create("k", lambda: "new") == "new"


def test_encrypted_entries_are_compressed_only_where_that_is_said() -> None:
    """Else their size would tell how much of a text is said twice."""
    text = "made " * 2000
    sizes = []
    for given in ({}, {"compress": "4k"}):
        store = PlainMemory()
        region = CacheRegion(store, secret="s", encrypt=True, **given)
        region.set("k", text)
        sizes.append(max(map(len, store.memory._table.values())))
    assert sizes[0] > len(text) > 10 * sizes[1]


def test_encryption_needs_a_secret() -> None:
    with pytest.raises(OptionError, match="needs a 'secret'") as caught:
        CacheRegion("memory://", encrypt=True)
    assert caught.value.option == "encrypt"
    CacheRegion("memory://", encrypt=False)
    CacheRegion("memory://", encrypt="true", secret="s")


def test_without_the_library_it_is_said_what_to_install() -> None:
    code = """
import sys
sys.modules["cryptography.hazmat.primitives.ciphers.aead"] = None
from mako_cacheplug import CacheRegion
CacheRegion("memory://", secret="s")
CacheRegion("memory://", secret="s", encrypt=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert 'pip install "mako-cacheplug[encryption]"' in done.stderr
    assert "OptionError: region 'default'" in done.stderr


@pytest.mark.parametrize("place", ["cache_args", "region", "tag"])
def test_templates_encrypt(tmp_path: Path, place: str) -> None:
    given = {"secret": "s", "encrypt": True}
    args: dict[str, object] = {"url": f"file://{tmp_path}/store"}
    on_tag = ""
    if place == "cache_args":
        args.update(given)
    elif place == "region":
        args["regions"] = {"safe": given}
        args["region"] = "safe"
    else:
        on_tag = 'cache_secret="s" cache_encrypt="true"'
    lookup = TemplateLookup(cache_impl="cacheplug", cache_args=args)
    lookup.put_string(
        "/page",
        f'<%def name="box()" cached="True" cache_tags="news" {on_tag}>'
        "${tick()} boxed</%def>${box()}",
    )
    ticks = iter("12")
    for _ in range(2):
        page = lookup.get_template("/page")
        assert page.render(tick=lambda: next(ticks)) == "1 boxed"
    files = [p.read_bytes() for p in tmp_path.glob("store/??/*")]
    assert len(files) >= 2
    assert all(b"mcp\x82" in data for data in files)
    assert not any(b"boxed" in data for data in files)


def test_a_store_of_entries_needs_no_encryption() -> None:
    region = CacheRegion("memory://", secret="s", encrypt=True)
    assert region.get("none", NO_VALUE) is NO_VALUE
    region.set("k", "v")
    assert region.get("k") == "v"
