"""What a template *is*: its uri plus a digest of what it says and does.

``cache.id`` and the compile time are no identity: they differ between
processes and agree between templates that have nothing in common.

What a template says is its source.  What it does is the module that Mako
generated from it, with its filters, imports and preprocessing.  The module
alone would not do: Mako writes the same statements in another order in each
process, so that the order of filters and imports is told apart from it.  Nor
would the source: it is read from the file when it is asked
for, and by then the file may be newer than what runs.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Iterable
from typing import Any
from typing import Final

from mako_cacheplug import keys
from mako_cacheplug.digests import blake2b

__all__ = ["identity", "ordered_settings", "own_uri"]

# Where and when the module was made, not what it does.
_CIRCUMSTANCES: Final = re.compile(
    r"^(?:# -\*- coding:.*"
    r"|_(?:modified_time|template_filename|template_uri|source_encoding) = .*"
    r")\n",
    re.MULTILINE,
)
# Mako names a namespace without a name after its address.
_ADDRESS: Final = "__anon_0x"
_ANONYMOUS: Final = re.compile(_ADDRESS + "[0-9a-f]+")
_HEAD_END: Final = "\n_exports = "
_METADATA: Final = '"""\n__M_BEGIN_METADATA'
# What Mako writes in one line in any order: the names in a set.
_SET: Final = "__M_dict_builtin("
_BETWEEN_WORDS: Final = re.compile(r"[\s,()\[\]{}]+")


def identity(
    uri: str, source: str | None, code: str, settings: Iterable[str] = ()
) -> str:
    """Return a text that no other template has.

    :param uri: as from :func:`own_uri`.
    :param source: what the author wrote; ``None`` if that is not known.
    :param code: the module that Mako generated; the order of its lines does
        not count, unless it is all that there is: then another process may
        have another text for the same template.
    :param settings: as from :func:`ordered_settings`.
    """
    told = code.partition(_METADATA)[0]
    head, exports, body = told.partition(_HEAD_END)
    told = _CIRCUMSTANCES.sub("", head) + exports + body
    if _ADDRESS in told:
        told = _ANONYMOUS.sub("__anon", told)
    lines = told.split("\n")
    if _SET in told:
        lines = [
            " ".join(sorted(_BETWEEN_WORDS.split(line)))
            if _SET in line
            else line
            for line in lines
        ]
    lines.sort()
    whole = keys.join(
        told if source is None else source, "\n".join(lines), *settings
    )
    data = whole.encode("utf-8", "surrogatepass")
    digest = blake2b(data, digest_size=15).digest()
    # It stands in every key: 20 characters, not 30.
    return keys.join(uri, binascii.b2a_base64(digest, newline=False).decode())


def ordered_settings(template: Any) -> list[str]:
    """Return what shapes the module of *template* by its order too.

    The source says nothing of it, and the module's order does not count.

    :param template: Mako's; one that was made from a module has none.
    """
    told: list[str] = []
    for name in ("default_filters", "buffer_filters", "imports"):
        given = getattr(template, name, None)
        if given:
            told.append(keys.join(name, *map(_text, given)))
    return told


def _text(setting: object) -> str:
    """Return *setting* as a text that is the same in every process."""
    if isinstance(setting, str):
        return setting
    kind: Any = setting if hasattr(setting, "__qualname__") else type(setting)
    return f"{kind.__module__}.{kind.__qualname__}"


def own_uri(uri: str, filename: str | None, has_lookup: bool = False) -> str:
    """Return *uri* if somebody gave it, or "" if Mako made it up.

    Mako makes one from the address of a string template, or from the path
    of a file that no lookup found: neither is the same in another process
    or deployment.

    :param has_lookup: whether the template has one: if its folder is given
        as ".", the path of a file that it found is its uri.
    """
    if uri.startswith("memory:"):
        return ""
    if filename is not None:
        path = os.path.normpath(os.path.splitdrive(filename)[1])
        is_stable = has_lookup and not os.path.isabs(path)
        if uri == path.replace(os.path.sep, "/") and not is_stable:
            return ""
    return uri
