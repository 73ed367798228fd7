"""Toolkits that are absent, and those that are there but broken."""

import pytest

from infoprune.errors import MissingExtra
from infoprune.integrations import toolkit


def test_an_absent_toolkit_is_one_sentence_with_the_extra():
    sentence = r"^absent_toolkit is not installed; pip install 'infoprune\[some\]'$"
    with pytest.raises(MissingExtra, match=sentence), toolkit("absent_toolkit", extra="some"):
        import absent_toolkit.training  # noqa: F401


def test_what_a_toolkit_itself_lacks_is_told_as_python_tells_it():
    with pytest.raises(ModuleNotFoundError) as caught, toolkit("present_toolkit", extra="some"):
        import something_that_it_needs  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)
