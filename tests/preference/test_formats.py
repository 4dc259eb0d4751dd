"""Every figure has one form, and what is not known is a dash."""

import math

import pytest

from preference import formats


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.figure(0.7312), "0.73"),
        (formats.figure(-1.5, 3), "−1.500"),
        (formats.figure(-0.001), "0.00"),
        (formats.figure(None), "–"),
        (formats.figure(math.nan, unknown="not measured"), "not measured"),
        (formats.interval(0.7312, 0.7, 0.76), "0.731 (95 % interval 0.700 to 0.760)"),
        (formats.interval(0.7312, math.nan, math.nan), "0.731"),
        (formats.interval(math.nan, 0.1, 0.2), "–"),
        (formats.share(0.731), "73 %"),
        (formats.share(math.inf), "–"),
        (formats.seconds(4.216), "4.2 s"),
        (formats.number(1234), "1234"),
        (formats.number(1234567), "1\u202f234\u202f567"),
        (formats.moment("2026-01-05T09:30:00+00:00"), "5 Jan 2026, 09:30"),
        (formats.moment("week 3"), "week 3"),
    ],
)
def test_a_figure_is_written_as_its_kind(written, expected):
    assert written == expected
