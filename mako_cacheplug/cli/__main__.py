"""``python -m mako_cacheplug.cli`` is ``mako-cacheplug``."""

from __future__ import annotations

from mako_cacheplug.cli import main

if __name__ == "__main__":
    main()
