"""The checker of the torture campaigns, checked: it accepts every sound history and rejects every broken one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.checker.corruptions import CORRUPTIONS, Corruption
from tests.checker.sound_world import SoundWorld
from tests.helpers.checker import PROMISES, check
from tests.helpers.history import (
    Moment,
    Outcome,
    Recorder,
    read_answers,
    read_calls,
    read_effects,
    write_answers,
    write_effect,
)

SEEDS_OF_SOUND_WORLDS = range(200)
REJECTIONS_PER_CORRUPTION = 70


def test_a_sound_history_has_no_complaint() -> None:
    for seed in SEEDS_OF_SOUND_WORLDS:
        assert check(SoundWorld(seed).live()) == [], f"seed {seed}"


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.__name__)
def test_a_corrupted_history_is_rejected_for_the_promise_that_it_breaks(corruption: Corruption) -> None:
    rejected = 0
    for seed in range(10 * REJECTIONS_PER_CORRUPTION):
        broken = corruption(SoundWorld(seed).live(), random.Random(seed))
        if broken is None:
            continue
        assert CORRUPTIONS[corruption] in {violation.promise for violation in check(broken)}, f"seed {seed}"
        rejected += 1
        if rejected == REJECTIONS_PER_CORRUPTION:
            return
    pytest.fail(f"only {rejected} histories could be broken in this way: the sound worlds are too small")


def test_every_promise_has_a_corruption_that_breaks_it() -> None:
    assert {promise.name for promise in PROMISES} == set(CORRUPTIONS.values())


def test_a_history_comes_back_from_its_file_as_it_was_written(tmp_path: Path) -> None:
    evidence = SoundWorld(seed=1).live()
    recorder = Recorder(tmp_path / "history.jsonl")
    for call in evidence.calls:
        recorder.record(call)
    recorder.close()
    assert read_calls(tmp_path / "history.jsonl") == evidence.calls
    assert {call.outcome for call in read_calls(tmp_path / "history.jsonl")} >= {Outcome.OK, Outcome.REFUSED}


def test_answers_come_back_as_they_were_written(tmp_path: Path) -> None:
    answers = SoundWorld(seed=3).live().answers
    write_answers(str(tmp_path / "answers"), answers[:2])
    write_answers(str(tmp_path / "answers"), answers[2:])
    assert read_answers(tmp_path / "answers") == list(answers) != []
    assert read_answers(tmp_path / "never written") == []


def test_effects_come_back_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    write_effect(str(log), "one", 1, 1, Moment.START)
    write_effect(str(log), "two", 3, 7, Moment.START)
    write_effect(str(log), "one", 1, 1, Moment.END)
    lines = [(effect.job_id, effect.attempt, effect.fence, effect.moment) for effect in read_effects(log)]
    assert lines == [("one", 1, 1, Moment.START), ("two", 3, 7, Moment.START), ("one", 1, 1, Moment.END)]
    assert read_effects(tmp_path / "never written") == []
