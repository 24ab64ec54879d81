"""What follows what: learned, corrected and forgotten, without a store."""

from __future__ import annotations

import threading
import weakref

import pytest

from mako_cacheplug import learning
from mako_cacheplug.learning import Course
from mako_cacheplug.learning import HELD_SECONDS
from mako_cacheplug.learning import Learner
from mako_cacheplug.testing import ManualClock


@pytest.fixture
def learner(clock: ManualClock) -> Learner:
    return Learner(clock)


def render(learner: Learner, names: str, page: str = "/p") -> list[str]:
    """Render a page that asks for *names*; return what led its trips."""
    course = Course(learner, page)
    at_hand: set[str] = set()
    led = []
    for name in names.split():
        if name not in at_hand:
            at_hand.update(course.depart([name]), [name])
            led.append(name)
        course.used.add(name)
    return led


def brought(learner: Learner, leader: str, page: str = "/p") -> str:
    """Return what a leader brings along, and ask for it."""
    course = Course(learner, page)
    along = course.depart([leader])
    course.used.update(along, [leader])
    return " ".join(along)


def test_a_known_leader_brings_all_that_followed(learner: Learner) -> None:
    assert render(learner, "a b c") == ["a", "b", "c"]
    assert render(learner, "a b c") == ["a"]
    assert brought(learner, "a") == "b c"


def test_a_leader_is_one_pages(learner: Learner) -> None:
    render(learner, "a b", page="/one")
    render(learner, "a c", page="/other")
    assert brought(learner, "a", "/one") == "b"
    assert brought(learner, "a", "/other") == "c"


def test_what_is_not_brought_leads_a_trip_of_its_own(learner: Learner) -> None:
    render(learner, "a b")
    render(learner, "a b u1 v1 w1")
    assert render(learner, "a b u2 v2 w2") == ["a", "u2", "v2", "w2"]
    assert render(learner, "a b u1 v1 w1") == ["a", "u1"]
    assert render(learner, "a b u2 v2 w2") == ["a", "u2"]
    assert brought(learner, "a") == "b"


def test_what_follows_twice_in_a_row_is_brought(learner: Learner) -> None:
    render(learner, "a b")
    render(learner, "a b c")
    render(learner, "a b c")
    assert render(learner, "a b c") == ["a"]


def test_what_follows_now_and_then_is_not(learner: Learner) -> None:
    render(learner, "a b")
    for number in range(6):
        render(learner, "a b c" if number % 2 else "a b")
    assert brought(learner, "a") == "b"
    for _ in range(2):
        render(learner, "a b c")
    assert brought(learner, "a") == "b c"


def test_another_leader_joins_with_its_own(learner: Learner) -> None:
    render(learner, "a b")
    render(learner, "a b s t")
    assert render(learner, "a b s t") == ["a", "s"]
    assert render(learner, "a b s t") == ["a"]


def test_what_is_brought_in_vain_twice_is_dropped(learner: Learner) -> None:
    render(learner, "a b c d")
    render(learner, "a b d")
    render(learner, "a b c d")
    render(learner, "a b d")
    assert brought(learner, "a") == "b c d", "only once in a row"
    render(learner, "a b d")
    render(learner, "a b d")
    assert brought(learner, "a") == "b d"


def test_what_is_dropped_together_is_remembered(learner: Learner) -> None:
    """The first render was one user's, who comes again."""
    render(learner, "a b u1 v1 w1")
    for user in "2345":
        render(learner, f"a b u{user} v{user} w{user}")
    assert brought(learner, "a") == "b"
    assert render(learner, "a b u1 v1 w1") == ["a", "u1"]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_a_render_asked_for_is_not_kept(
    learner: Learner, clock: ManualClock, times: int
) -> None:
    """A page of hundreds of names would stay once for each of its users."""
    for _ in range(times):
        course = Course(learner, "/p")
        for name in "abu":
            course.depart([name])
            course.used.add(name)
    used = weakref.ref(course.used)
    del course
    clock.advance(HELD_SECONDS * 1.1)
    render(learner, "x y")
    assert used() is None


def test_what_was_brought_in_vain_long_ago_counts(
    learner: Learner, clock: ManualClock
) -> None:
    render(learner, "a b c")
    for _ in range(2):
        render(learner, "a b")
        clock.advance(HELD_SECONDS * 1.1)
        render(learner, "x")
    assert brought(learner, "a") == "b"


def test_one_that_is_too_large_alone_is_brought(learner: Learner) -> None:
    """So that it is seen when it has become small."""
    render(learner, "a b c")
    course = Course(learner, "/p")
    course.used.update(course.depart(["a"]), ["a"])
    course.weigh({"b": learning.MOST_BYTES + 1, "c": 1})
    course = Course(learner, "/p")
    assert course.depart(["a"]) == ["b"]
    course.widen()
    for _ in range(2):
        render(learner, "a b c")
    assert brought(learner, "a") == "b c"


def test_what_is_rarely_needed_comes_now_and_then(
    learner: Learner, clock: ManualClock
) -> None:
    for _ in range(2):
        course = Course(learner, "/p")
        course.depart(["a"], "A")
        course.depart(["b"], "B")
        course.used.update("ab")
    clock.advance(HELD_SECONDS)
    course = Course(learner, "/p")
    assert course.depart(["a"], "A") == ["b", "A", "B"]
    assert course.checks
    course = Course(learner, "/p")
    assert course.depart(["a"], "A") == ["b"]
    assert not course.checks
    course.used.add("b")
    clock.advance(learning.CHECK_SECONDS)
    assert Course(learner, "/p").depart(["a"], "A") == ["b", "A", "B"]


def test_what_is_needed_together_follows_its_first(learner: Learner) -> None:
    Course(learner, "/p").depart(["a", "label", "tag"])
    assert brought(learner, "a") == "label tag"
    course = Course(learner, "/p")
    assert course.depart(["a", "label"]) == ["tag"], "asked for anyway"


def test_what_is_read_again_is_no_news(learner: Learner) -> None:
    course = Course(learner, "/p")
    for name in "abab":
        course.depart([name])
        course.used.add(name)
    assert brought(learner, "a") == "b"
    assert len(learner) == 1
    course = Course(learner, "/p")
    assert course.depart(["a"]) == ["b"]
    course.used.add("a")
    assert course.depart(["a"]) == [], "it was overwritten meanwhile"
    assert course.depart(["b"]) == [], "it too"
    assert len(learner) == 1


def test_after_a_second_nothing_follows_on_what_came_before(
    learner: Learner,
) -> None:
    render(learner, "a b")
    for _ in range(3):
        course = Course(learner, "/p")
        course.used.update(course.depart(["a"]), "a")
        course.expire()
        course.depart(["c"])
    assert brought(learner, "a") == "b"


def test_a_slow_first_render_is_one_list(learner: Learner) -> None:
    course = Course(learner, "/p")
    for name in "abcd":
        course.depart([name])
        course.expire()
    assert brought(learner, "a") == "b c d"


def test_a_list_has_an_end_and_the_next_one_a_leader(
    learner: Learner,
) -> None:
    names = [f"n{number}" for number in range(learning.MOST_NAMES + 11)]
    page = " ".join(names)
    render(learner, page)
    assert render(learner, page) == ["n0", f"n{learning.MOST_NAMES + 1}"]
    assert render(learner, page) == ["n0", f"n{learning.MOST_NAMES + 1}"]


def test_what_is_too_large_together_is_parted(learner: Learner) -> None:
    render(learner, "a b c d e")
    course = Course(learner, "/p")
    along = course.depart(["a"])
    course.used.update(along, "a")
    course.weigh(dict.fromkeys(along, learning.MOST_BYTES // 2))
    assert brought(learner, "a") == "b c"
    assert render(learner, "a b c d e") == ["a", "d", "e"]
    assert render(learner, "a b c d e") == ["a", "d"]
    assert render(learner, "a b c d e") == ["a", "d"], "it stays so"


def test_so_many_names_are_kept(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "KEPT_NAMES", 10)
    for number in range(5):
        names = f"a{number} b{number} c{number}"
        render(learner, names)
        assert learner.kept <= 10
        assert render(learner, names) == [f"a{number}"]
    assert len(learner) == 3
    assert brought(learner, "a2") == "b2 c2"
    render(learner, "a5 b5 c5")
    assert brought(learner, "a2") == "b2 c2"
    assert brought(learner, "a3") == "", "the least used is gone"


def test_the_count_of_names_stays_true(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "KEPT_NAMES", 40)
    slow = Course(learner, "/slow")
    for number in range(60):
        render(learner, f"a b{number % 3} c{number % 5} d{number % 7} e")
        slow.depart([f"s{number}"])
        render(learner, f"f g{number} h")
    known = learner._known.values()
    assert learner.kept == sum(map(len, known))


def test_a_list_that_is_being_made_is_left_alone(learner: Learner) -> None:
    """Two threads render a page for the first time at once."""
    course = Course(learner, "/p")
    course.depart(["a"])
    course.depart(["b"])
    led: list[str] = []
    other = threading.Thread(
        target=lambda: led.extend(render(learner, "a b c d"))
    )
    other.start()
    other.join()
    assert led == ["a", "c", "d"]
    course.depart(["c"])
    course.depart(["d"])
    assert brought(learner, "a") == "b c d"
    assert len(learner) == 1


def test_a_render_that_goes_on_elsewhere_is_not_judged(
    learner: Learner, clock: ManualClock
) -> None:
    render(learner, "a b c")
    others: list[Course] = []

    def begin() -> None:
        others.append(Course(learner, "/p"))
        others[-1].depart(["a"])

    for _ in range(4):
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    assert brought(learner, "a") == "b c"
    clock.advance(HELD_SECONDS + 0.1)
    assert brought(learner, "a") == "b c", "in vain once"
    for _ in range(3):
        clock.advance(HELD_SECONDS + 0.1)
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    clock.advance(HELD_SECONDS + 0.1)
    assert brought(learner, "a") == ""
