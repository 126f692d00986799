"""Which lanes may hold work: a bounded, derived set that the store is the truth of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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

    def pick(self, types: Collection[str], limit: int) -> dict[Lane, int]:
        """Return up to `limit` lanes of these types with their stamps, for `clean`. Lanes left out come first next."""
        picked: dict[Lane, int] = {}
        for type_ in types:
            of_type = self._by_type.get(type_)
            if not of_type:
                continue
            room = limit - len(picked)
            if len(of_type) <= room:
                picked.update(of_type)
                continue
            for lane in list(of_type)[:room]:
                # To the end, so that a request with room for some of the lanes goes round all of them in turn.
                picked[lane] = of_type[lane] = of_type.pop(lane)
        return picked

    def clean(self, asked: Mapping[Lane, int]) -> None:
        """Forget lanes that turned out to hold no more work, unless they were marked again since `pick`."""
        for lane, stamp in asked.items():
            of_type = self._by_type.get(lane.type)
            if of_type is not None and of_type.get(lane) == stamp:
                del of_type[lane]
                self._count -= 1

    def keep(self, types: Collection[str]) -> None:
        """Forget the lanes of all other types: nobody serves them now."""
        for type_ in [each for each in self._by_type if each not in types]:
            self._count -= len(self._by_type.pop(type_))
