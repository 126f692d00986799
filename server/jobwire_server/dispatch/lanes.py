"""Which lanes may hold work: a bounded, derived set that the store is the truth of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from jobwire_server.dispatch.interest import Interest
from jobwire_server.store.base import Lane


class DirtyLanes:
    """Lanes in which jobs may be PENDING, grouped by type.

    A lane is marked when a commit may have put a job there, and cleaned when the store was asked for more jobs of it
    than it had. Each mark has a stamp, so that a mark that arrives while a question is on its way survives the
    answer. At the bound nothing is forgotten silently: `overflowed` says that the store has to be asked again.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._by_type: dict[str, dict[Lane, int]] = {}
        self._count = 0
        self._stamp = 0
        self.overflowed = False

    def __len__(self) -> int:
        return self._count

    def mark(self, lanes: Iterable[Lane]) -> None:
        """Remember that these lanes may hold work."""
        self._stamp += 1
        for lane in lanes:
            of_type = self._by_type.setdefault(lane.type, {})
            if lane not in of_type:
                if self._count >= self._bound:
                    self.overflowed = True
                    continue
                self._count += 1
            of_type[lane] = self._stamp

    def pick(self, interest: Interest, limit: int, *, full: Iterable[str] = ()) -> dict[Lane, int]:
        """Return up to `limit` lanes that are wanted, but of no queue that is `full`, with their stamps, for `clean`.
        Lanes left out come first next."""
        picked: dict[Lane, int] = {}
        shut = frozenset(full)
        for type_ in self._by_type if interest.types is None else interest.types:
            of_type = self._by_type.get(type_)
            if not of_type:
                continue
            fitting = [lane for lane in of_type if interest.terms_of(lane.queue) is not None and lane.queue not in shut]
            room = limit - len(picked)
            for lane in fitting[:room]:
                picked[lane] = of_type[lane]
                if len(fitting) > room:
                    # To the end, so that a request with room for some of the lanes goes round all of them in turn.
                    of_type[lane] = of_type.pop(lane)
        return picked

    def clean(self, asked: Mapping[Lane, int]) -> None:
        """Forget lanes that turned out to hold no more work, unless they were marked again since `pick`."""
        for lane, stamp in asked.items():
            of_type = self._by_type.get(lane.type)
            if of_type is not None and of_type.get(lane) == stamp:
                del of_type[lane]
                self._count -= 1

    def keep(self, wanted: Callable[[Lane], bool]) -> None:
        """Forget all lanes that are not wanted: nobody serves them now."""
        for type_, lanes in list(self._by_type.items()):
            self._by_type[type_] = {lane: stamp for lane, stamp in lanes.items() if wanted(lane)}
            if not self._by_type[type_]:
                del self._by_type[type_]
        self._count = sum(map(len, self._by_type.values()))
