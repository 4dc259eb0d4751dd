"""An error in one line: what was found, and what to do about it."""

import pytest

from preference.errors import UserError


@pytest.mark.parametrize(
    ("message", "fix", "line"),
    [
        ("It is damaged", "Repair it.", "It is damaged. Repair it."),
        ("It is damaged.", "Repair it.", "It is damaged. Repair it."),
        ("It is damaged", "", "It is damaged"),
    ],
)
def test_an_error_in_one_line_has_two_sentences(message, fix, line):
    assert str(UserError(message, fix=fix)) == line
