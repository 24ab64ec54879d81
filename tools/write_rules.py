"""Write docs/check-rules.rst from the texts of the checker's rules."""

from __future__ import annotations

from pathlib import Path

from mako_cacheplug.check.texts import rules_page

PAGE = Path(__file__).resolve().parent.parent / "docs" / "check-rules.rst"

if __name__ == "__main__":
    PAGE.write_text(rules_page(), encoding="utf-8")
