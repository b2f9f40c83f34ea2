"""Which namespaces can be read, by what is answered of them."""

from collections.abc import Callable

import pytest

from agentjob_kube.errors import ApiError, NoRight, NotFound, ServerError, Unreachable
from agentjob_kube.reach import REFUSED_AFTER, Reach

NO_RIGHT, NO_SUCH = NoRight("no right", status=403), NotFound("no such", status=404)
DOWN, BROKEN = Unreachable("reset"), ServerError("no conversion", status=500)


class Answers:
    """What is answered, at times of a clock of the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reach = Reach(namespaces=("a", "b"), clock=lambda: self.now)

    def fail(self, namespace: str, error: ApiError, what: str = "list pods") -> "Answers":
        self.reach.failed(namespace, what, error)
        return self

    def come(self, namespace: str, what: str = "list pods") -> "Answers":
        self.reach.came(namespace, what)
        return self

    def later(self, seconds: float = REFUSED_AFTER) -> "Answers":
        self.now += seconds
        return self


@pytest.mark.parametrize(
    ("said", "readable", "is_lost"),
    [
        pytest.param(lambda say: say, "ab", False, id="where nothing was said"),
        pytest.param(lambda say: say.fail("b", NO_RIGHT), "ab", False, id="at the first refusal"),
        pytest.param(lambda say: say.fail("b", NO_RIGHT).later(), "a", True, id="after a minute without a right"),
        pytest.param(lambda say: say.fail("b", NO_SUCH).later(), "a", True, id="a minute after it was deleted"),
        pytest.param(
            lambda say: say.fail("b", NO_RIGHT, "watch pods").later().come("b"), "a", True, id="listed, not watched"
        ),
        pytest.param(lambda say: say.fail("b", NO_RIGHT).later().come("b"), "ab", False, id="allowed again"),
        pytest.param(
            lambda say: say.fail("b", NO_RIGHT).later(50).fail("b", BROKEN).later(10), "a", True,
            id="refused, and failing since",
        ),
        pytest.param(lambda say: say.fail("b", BROKEN).later(), "a", False, id="failing for a minute"),
        pytest.param(lambda say: say.fail("b", DOWN, "watch pods").later(), "ab", False, id="a watch that breaks"),
        pytest.param(
            lambda say: say.fail("a", NO_RIGHT).fail("b", NO_RIGHT).later(), "ab", False, id="refused like all others"
        ),
        pytest.param(
            lambda say: say.fail("a", DOWN).fail("b", DOWN).later(300), "ab", False, id="failing like all others"
        ),
        pytest.param(
            lambda say: say.fail("a", DOWN).fail("b", DOWN).later(300).come("a").later(59), "ab", False,
            id="failing a little longer than all others",
        ),
        pytest.param(
            lambda say: say.fail("a", DOWN).fail("b", DOWN).later(300).come("a").later(), "a", False,
            id="failing much longer than all others",
        ),
        pytest.param(
            lambda say: say.fail("b", BROKEN).later().fail("a", DOWN).later(1).come("a"), "a", False,
            id="failing since before the other one did for a moment",
        ),
        pytest.param(
            lambda say: say.fail("b", DOWN).later(59).fail("a", DOWN).later(1).come("a"), "ab", False,
            id="failing a little earlier than the other one",
        ),
        pytest.param(
            lambda say: say.fail("a", NO_RIGHT).fail("b", NO_RIGHT).later(300).come("a").later(59), "ab", False,
            id="refused a little longer than all others",
        ),
        pytest.param(
            lambda say: say.fail("a", NO_RIGHT).fail("b", NO_RIGHT).later(300).come("a").later(), "a", True,
            id="refused much longer than all others",
        ),
        pytest.param(
            lambda say: say.fail("a", DOWN).fail("b", DOWN).later(50).come("a").later(59), "ab", False,
            id="failing a little longer than all others, which did for a moment",
        ),
    ],
)  # fmt: skip
def test_a_namespace_is_read_or_lost(said: Callable[[Answers], Answers], readable: str, is_lost: bool) -> None:
    reach = said(Answers()).reach

    assert ("".join(reach.readable()), reach.is_lost("b")) == (readable, is_lost)


def test_a_namespace_is_given_up_in_time_however_often_another_one_fails_for_a_moment() -> None:
    say = Answers().fail("b", BROKEN)

    for _ in range(10):
        say.later(20).fail("a", DOWN).later(1).come("a")

    assert say.reach.readable() == ("a",)


def test_a_namespace_that_is_refused_is_so_since_the_first_refusal() -> None:
    say = Answers().fail("a", NO_RIGHT).fail("b", NO_RIGHT).later(300).come("a")

    assert say.reach.refused_since("b", "list pods") == 0.0
