"""BLAKE2b, by itself.

It is CPython's own.  ``hashlib`` only hands it on, but loads OpenSSL with
the others, which takes as long as a tenth of this package.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:  # no CPython
    from hashlib import blake2b

__all__ = ["blake2b"]
