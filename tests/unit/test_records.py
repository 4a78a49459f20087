# SPDX-License-Identifier: GPL-3.0-or-later
"""Records behave as the standard library's dataclasses do, which type checkers take them for."""

import dataclasses
from collections.abc import Callable
from types import ModuleType

import pytest

from spank_qrmi.light import records


def kinds_of(module: ModuleType) -> tuple[type, type]:
    """Return the same two classes as the module makes them: one frozen, one not."""

    @module.dataclass(frozen=True)
    class Point:
        x: int
        y: int = 2
        secret: str = module.field(default="s", repr=False)
        labels: list[str] = module.field(default_factory=list, repr=True)

        @property
        def total(self) -> int:
            return self.x + self.y

    @module.dataclass
    class Counter:
        point: Point
        count: int = 0

    return Point, Counter


OURS, STANDARD = kinds_of(records), kinds_of(dataclasses)


@pytest.mark.parametrize(
    "look",
    [
        lambda point, counter: repr(point(1)).rpartition("<locals>.")[2],
        lambda point, counter: (point(1).x, point(1, y=5).y, point(1, 2, "t").secret),
        lambda point, counter: point(1).total,
        lambda point, counter: (point(1) == point(1, 2), point(1) == point(2), point(1) == 1),
        lambda point, counter: counter(point(1)) != counter(point(1), 1),
        lambda point, counter: hash(point(1, labels=())) == hash(point(1, labels=())),  # type: ignore[arg-type]
        lambda point, counter: counter.__hash__,
        lambda point, counter: point(1).labels is point(1).labels,
        lambda point, counter: point.__match_args__,
    ],
)
def test_record_is_as_a_dataclass_is(look: Callable[[type, type], object]) -> None:
    assert look(*OURS) == look(*STANDARD)


@pytest.mark.parametrize(
    "do",
    [
        lambda point, counter: point(),
        lambda point, counter: point(1, 2, "s", [], 5),
        lambda point, counter: point(1, x=1),
        lambda point, counter: point(1, z=1),
        lambda point, counter: setattr(point(1), "x", 2),
        lambda point, counter: delattr(point(1), "x"),
        lambda point, counter: hash(counter(point(1))),
        lambda point, counter: hash(point(1)),
    ],
)
def test_record_refuses_what_a_dataclass_refuses(do: Callable[[type, type], object]) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        do(*STANDARD)
    kind = TypeError if caught.type is TypeError else AttributeError
    with pytest.raises(kind):
        do(*OURS)


@pytest.mark.parametrize(("module", "kinds"), [(records, OURS), (dataclasses, STANDARD)])
def test_record_is_taken_apart_and_changed(module: ModuleType, kinds: tuple[type, type]) -> None:
    point, counter = kinds
    counted = module.replace(counter(point(1)), count=3)
    assert module.asdict(counted) == {
        "point": {"x": 1, "y": 2, "secret": "s", "labels": []},
        "count": 3,
    }
    assert [each.name for each in module.fields(point)] == ["x", "y", "secret", "labels"]
    counted.count = 4
    assert counted.count == 4
    with pytest.raises(TypeError):
        module.replace(counted, other=1)
