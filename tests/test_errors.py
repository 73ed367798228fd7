"""What is said of errors that others raise."""

import pytest

from infoprune.errors import first_line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  late"), "late"),
        (KeyError(), "KeyError"),
        (OSError("  "), "OSError"),
    ],
)
def test_errors_say_something_in_one_line_even_when_they_are_silent(error, told):
    assert first_line(error) == told
