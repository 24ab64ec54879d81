"""What a template *is*: its uri plus a digest of what it does.

``cache.id`` and the compile time are no identity: they differ between
processes and agree between templates that have nothing in common.  The
module that Mako generates from a template is: it is the template's source
with its filters, imports and preprocessing applied, as it will run.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from mako_cacheplug import keys

__all__ = ["identity", "own_uri"]

# Where and when the module was made, not what it does.
_CIRCUMSTANCES: Final = re.compile(
    r"^(?:# -\*- coding: .*"
    r"|_(?:modified_time|template_filename|template_uri|source_encoding) = .*"
    r")\n",
    re.MULTILINE,
)
_METADATA: Final = re.compile(r'"""\n__M_BEGIN_METADATA.*', re.DOTALL)


def identity(uri: str, code: str) -> str:
    """Return a text that no other template has.

    :param uri: as from :func:`own_uri`.
    :param code: the module that Mako generated.
    """
    told = _METADATA.sub("", _CIRCUMSTANCES.sub("", code))
    data = told.encode("utf-8", "surrogatepass")
    return keys.join(uri, hashlib.blake2b(data, digest_size=16).hexdigest())


def own_uri(uri: str, filename: str | None) -> str:
    """Return *uri* if somebody gave it, or "" if Mako made it up.

    Mako makes one from the address of a string template, or from the path
    of a file that no lookup found: neither is the same in another process
    or deployment.
    """
    if uri.startswith("memory:"):
        return ""
    if filename is not None:
        path = os.path.normpath(os.path.splitdrive(filename)[1])
        if uri == path.replace(os.path.sep, "/"):
            return ""
    return uri
