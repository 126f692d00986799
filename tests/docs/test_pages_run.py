"""What the README, the tutorials and the how-to guides say happens, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, text_of
from tests.docs.reader import Reader, assert_shows, not_run, steps_of

PAGES = [ROOT / "README.md", *sorted([*ROOT.glob("docs/tutorials/*.md"), *ROOT.glob("docs/how-to/*.md")])]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@pages
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_everything_that_a_page_says_happens(page: Path, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        steps = reader.read(text_of(page))
    assert steps > 0 or list(not_run(text_of(page)))


@pages
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    for reason, block in not_run(text_of(page)):
        assert len(reason.split()) > 2, block


def test_the_readme_has_more_than_a_few_steps() -> None:
    assert len(list(steps_of(text_of(ROOT / "README.md")))) > 10


def test_a_promise_that_is_not_kept_is_found() -> None:
    with pytest.raises(AssertionError, match="does not follow"):
        assert_shows("one\ntwo\n", ("two", "one"))
    assert_shows("x 1.25 s y\n", ("x … s",))


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```sh\nfalse\necho on\n```\n", "exit code 1"),
        ("```console\n$ ls no-such-file\n```\n", "of which the page says nothing"),
        ("```console\n$ echo one\ntwo\n```\n", "does not follow"),
        ("```python\nprint(1)  # 2\n```\n", "is not in"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    ],
)
def test_a_page_that_lies_is_found(page: str, complaint: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader, pytest.raises(AssertionError, match=complaint):
        reader.read(page)


@pytest.mark.timeout(60)
def test_variables_files_and_exit_codes_carry_over_to_the_next_block(tmp_path: Path) -> None:
    page = """
```sh
# greet.sh
echo "hello, $1"
```

```console
$ name=Ada
$ bash greet.sh "$name"
hello, Ada
$ (exit 7)
$ echo $?
7
```

<!-- not run: it would take the disk with it -->
```sh
exit 1
```
"""
    with Reader(tmp_path) as reader:
        assert reader.read(page) == 5


@pytest.mark.timeout(60)
def test_a_command_that_should_stay_and_ends_is_found(tmp_path: Path) -> None:
    with Reader(tmp_path) as reader, pytest.raises(AssertionError, match="ended with"):
        reader.read("```console\n$ jobwire dev --no-such-flag\n```\n")
