"""What the newspaper computes while a page is rendered.

This is the cost that the cache saves, and all of it is real: texts are
taken apart, ranked and formatted anew at every call.  Nothing is memoised
here on purpose; remembering is the cache's part.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import difflib
import hashlib
import json
import math
import pathlib
import re
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import Final

from markupsafe import escape
from markupsafe import Markup

__all__ = ["SECTIONS", "Article", "Comment", "Newsroom"]

DATA: Final = pathlib.Path(__file__).parent / "data"

SECTIONS: Final = {
    "town": "Town",
    "business": "Business",
    "science": "Science",
    "culture": "Culture",
    "sport": "Sport",
    "living": "Home & Garden",
}
"""Section names by the slug that stands in a URL."""

_WORD: Final = re.compile(r"[a-z]+")
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+")
_STRONG: Final = re.compile(r"\*\*(.+?)\*\*")
_EMPHASIS: Final = re.compile(r"\*(.+?)\*")
_STOP_WORDS: Final = frozenset(
    (DATA / "stop_words.txt").read_text("utf-8").split()
)
"""What says little about a subject: particles, numbers, times."""


@dataclasses.dataclass(frozen=True)
class Comment:
    """One remark under an article; *parent* is the remark it answers."""

    id: int
    parent: int | None
    reader: str
    written: datetime.datetime
    text: str


@dataclasses.dataclass(frozen=True)
class Article:
    """One report, its body in the plain-text form that ``html`` reads."""

    id: int
    section: str
    headline: str
    standfirst: str
    published: datetime.datetime
    body: str
    comments: tuple[Comment, ...]

    @property
    def path(self) -> str:
        """Where a browser finds it."""
        return f"/article/{self.id}"


class Newsroom:
    """The articles and everything that is worked out about them.

    Immutable but for the counters, which are locked: one object serves any
    number of threads.
    """

    def __init__(self, source: pathlib.Path = DATA / "articles.json") -> None:
        data = json.loads(source.read_text("utf-8"))
        self.edition = datetime.datetime.fromisoformat(data["edition"])
        self.articles = {
            article.id: article for article in map(_article, data["articles"])
        }
        self._readings: list[float] = data["readings"]
        self._comments = {
            comment.id: comment
            for article in self.articles.values()
            for comment in article.comments
        }
        self._work: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def work(self) -> dict[str, int]:
        """Return how often each kind of work has been done so far."""
        with self._lock:
            return dict(self._work)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._work[kind] += 1

    def __getitem__(self, article_id: int) -> Article:
        return self.articles[article_id]

    def comment(self, comment_id: int) -> Comment:
        """Return one remark."""
        return self._comments[comment_id]

    def latest(self, section: str | None = None) -> list[Article]:
        """Return the articles of *section* or of all, newest first."""
        self._count("latest")
        chosen = (
            article
            for article in self.articles.values()
            if section in (None, article.section)
        )
        return sorted(chosen, key=lambda a: (a.published, -a.id), reverse=True)

    def front(self) -> dict[str, list[int]]:
        """Return the front page's fifty article ids, by part of the page."""
        self._count("front")
        lead, *rest = self.latest()
        parts = {"lead": [lead.id], "top": [a.id for a in rest[:7]]}
        for section in SECTIONS:
            there = [a.id for a in rest[7:] if a.section == section]
            parts[section] = there[:7]
        return parts

    def teaser(self, article_id: int, sentences: int = 1) -> str:
        """Return the sentences that say most of what the article says.

        Each is scored by the mean weight of its words, a word's weight
        being its count in the article (H. P. Luhn, "The Automatic Creation
        of Literature Abstracts", 1958).
        """
        self._count("teaser")
        article = self.articles[article_id]
        weight = collections.Counter(_words(article.headline * 2))
        weight.update(_words(article.body))
        first, *_ = article.body.split("\n\n")
        scored = []
        for place, sentence in enumerate(_SENTENCE.split(first)):
            words = list(_words(sentence))
            score = sum(weight[word] for word in words) / (len(words) or 1)
            scored.append((score, place, sentence))
        best = sorted(scored, reverse=True)[:sentences]
        chosen = sorted((place, text) for _, place, text in best)
        return _typeset(" ".join(text for _, text in chosen))

    def minutes(self, article_id: int) -> int:
        """Return how many minutes it takes to read the article."""
        self._count("minutes")
        words = len(self.articles[article_id].body.split())
        return max(1, round(words / 130))

    def related(self, article_id: int, count: int = 4) -> list[Article]:
        """Return the articles that share most words with this one.

        Shared words weigh more the rarer they are; the sum is divided by
        the root of the other text's length.
        """
        self._count("related")
        bags = self._bags()
        rarity = _rarity(bags.values())
        own = bags.pop(article_id)
        scores = {}
        for other, bag in bags.items():
            shared = sum(rarity[word] for word in own.keys() & bag.keys())
            scores[other] = shared / math.sqrt(len(bag))
        best = sorted(scores, key=lambda one: (-scores[one], one))
        return [self.articles[one] for one in best[:count]]

    def recommend(
        self, interests: Iterable[str], read: Iterable[int], count: int = 3
    ) -> list[Article]:
        """Return articles for a reader: near to what was *read*, but new."""
        self._count("recommend")
        bags = self._bags()
        rarity = _rarity(bags.values())
        known = set(read)
        liked = set(interests)
        taste: collections.Counter[str] = collections.Counter()
        for article_id in known:
            taste.update(bags[article_id])
        scores = {}
        for article_id in bags.keys() - known:
            shared = taste.keys() & bags[article_id].keys()
            bonus = 1.5 if self.articles[article_id].section in liked else 1.0
            scores[article_id] = bonus * (
                1.0 + sum(rarity[word] for word in shared)
            )
        best = sorted(scores, key=lambda one: (-scores[one], one))
        return [self.articles[one] for one in best[:count]]

    def talked_about(self, count: int = 8) -> list[str]:
        """Return the words that set today's reports apart."""
        self._count("talked_about")
        bags = self._bags(first_paragraph=True)
        rarity = _rarity(bags.values())
        total: collections.Counter[str] = collections.Counter()
        for bag in bags.values():
            total.update(bag)
        weights = {
            word: times * rarity[word]
            for word, times in total.items()
            if len(word) > 4 and times > 1
        }
        return sorted(weights, key=lambda word: (-weights[word], word))[:count]

    def most_discussed(self, count: int = 5) -> list[Article]:
        """Return the articles with the longest threads."""
        self._count("most_discussed")
        ranked = sorted(
            self.articles.values(), key=lambda a: (-len(a.comments), a.id)
        )
        return ranked[:count]

    def nearest(self, text: str, count: int = 4) -> list[Article]:
        """Return articles whose headlines look like *text*, best first."""
        self._count("nearest")
        wanted = text.lower()
        scores = {}
        for article in self.articles.values():
            matcher = difflib.SequenceMatcher(
                None, wanted, article.headline.lower()
            )
            scores[article.id] = matcher.ratio()
        best = sorted(scores, key=lambda one: (-scores[one], one))
        return [self.articles[one] for one in best[:count]]

    def weather(self, units: str) -> dict[str, str]:
        """Return lowest, mean and highest temperature and a word for them.

        :param units: ``"C"`` or ``"F"``.
        """
        self._count("weather")
        smooth = [
            sum(self._readings[hour : hour + 3]) / 3
            for hour in range(len(self._readings) - 2)
        ]
        mean = sum(smooth) / len(smooth)
        rising = smooth[-1] > smooth[0]
        figures = {"low": min(smooth), "mean": mean, "high": max(smooth)}
        if units == "F":
            figures = {k: v * 9 / 5 + 32 for k, v in figures.items()}
        told = {k: f"{v:.0f}\u00b0{units}" for k, v in figures.items()}
        told["word"] = "Brightening" if rising else "Sea mist later"
        return told

    def answers(
        self, article_id: int, parent: int | None = None
    ) -> list[Comment]:
        """Return the remarks that answer *parent*, or that open a thread."""
        self._count("answers")
        comments = self.articles[article_id].comments
        return [one for one in comments if one.parent == parent]

    def html(self, text: str) -> Markup:
        """Return *text* as HTML.

        Paragraphs are divided by empty lines.  ``## `` begins a heading,
        ``> `` a quotation, ``- `` the items of a list; ``*this*`` is
        emphasised and ``**this**`` strong.  Quotes and dashes are typeset.
        Everything else is escaped.
        """
        self._count("html")
        return Markup("\n").join(
            _block(block) for block in text.split("\n\n") if block
        )

    def engraving(self, article_id: int) -> Markup:
        """Return a small landscape as SVG, drawn from the article's text.

        The strokes carry classes, not colours: the style sheet paints
        them, for day and for night.
        """
        self._count("engraving")
        article = self.articles[article_id]
        seed = hashlib.blake2b(article.body.encode()).digest()
        sun_x, sun_y, sun_r = (
            60 + seed[0],
            34 + seed[1] % 50,
            14 + seed[2] % 14,
        )
        layers = []
        for depth in range(4):
            a, b, c, d = seed[8 + depth * 4 : 12 + depth * 4]
            points = []
            for x in range(0, 401, 10):
                y = (
                    112
                    + depth * 28
                    - (10 + a % 24) * math.sin(x / (38 + b % 40) + c)
                    - (3 + d % 9) * math.sin(x / (11 + c % 9) + a)
                )
                points.append(f"{x} {y:.1f}")
            line = "L".join(points)
            layers.append(
                f'<path class="l{depth}" d="M0 226L{line}L400 226Z"/>'
            )
        return Markup(  # noqa: S704  # nothing but numbers is filled in
            '<svg class="art" viewBox="0 0 400 225" aria-hidden="true"'
            ' preserveAspectRatio="xMidYMid slice">'
            '<rect class="sky" width="400" height="225"/>'
            f'<circle class="sun" cx="{sun_x}" cy="{sun_y}" r="{sun_r}"/>'
            f"{''.join(layers)}</svg>"
        )

    def _bags(
        self, *, first_paragraph: bool = False
    ) -> dict[int, collections.Counter[str]]:
        """Return every article's words with their counts, by article."""
        bags = {}
        for article in self.articles.values():
            text = article.body
            if first_paragraph:
                text = text.partition("\n\n")[0]
            text = f"{article.headline} {article.standfirst} {text}"
            bags[article.id] = collections.Counter(_words(text))
        return bags


def _article(fields: dict[str, Any]) -> Article:
    comments = tuple(
        Comment(**{**one, "written": _time(one["written"])})
        for one in fields["comments"]
    )
    published = _time(fields["published"])
    titles = {
        name: _typeset(fields[name]) for name in ("headline", "standfirst")
    }
    known = {**fields, **titles, "published": published, "comments": comments}
    return Article(**known)


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _words(text: str) -> Iterator[str]:
    return (w for w in _WORD.findall(text.lower()) if w not in _STOP_WORDS)


def _rarity(bags: Iterable[collections.Counter[str]]) -> dict[str, float]:
    """Return each word's inverse document frequency."""
    documents: collections.Counter[str] = collections.Counter()
    total = 0
    for bag in bags:
        documents.update(bag.keys())
        total += 1
    return {word: math.log(total / n) for word, n in documents.items()}


def _typeset(text: str) -> str:
    """Return *text* with the printer's quotes and dashes."""
    text = re.sub(r'(^|[\s(])"', "\\1\u201c", text).replace('"', "\u201d")
    text = re.sub(r"(^|[\s(])'", "\\1\u2018", text).replace("'", "\u2019")
    return text.replace(" - ", " \u2013 ")


def _inline(text: str) -> Markup:
    safe = str(escape(_typeset(text)))
    safe = _STRONG.sub(r"<strong>\1</strong>", safe)
    return Markup(_EMPHASIS.sub(r"<em>\1</em>", safe))  # noqa: S704  # escaped two lines above


def _block(block: str) -> Markup:
    """Return one paragraph, heading, quotation or list as HTML."""
    if block.startswith("## "):
        return Markup("<h2>{}</h2>").format(_inline(block[3:]))
    if block.startswith("> "):
        return Markup("<blockquote><p>{}</p></blockquote>").format(
            _inline(block[2:])
        )
    if block.startswith("- "):
        items = (
            Markup("<li>{}</li>").format(_inline(line[2:]))
            for line in block.splitlines()
        )
        return Markup("<ul>{}</ul>").format(Markup().join(items))
    return Markup("<p>{}</p>").format(_inline(block))
