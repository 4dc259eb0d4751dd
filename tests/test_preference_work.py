"""A map over items goes on where single items fail, and ends where there is a bug."""

import pytest

from preference.errors import UserError
from preference.work import parallel_map, worker_count


def square(n):
    if n == 3:
        raise UserError("three is broken")
    if n == 99:
        raise ZeroDivisionError("a bug")
    return n * n


@pytest.mark.parametrize("workers", [1, 2])
def test_a_broken_item_is_a_result_and_the_others_are_done(workers):
    results = dict(parallel_map(square, [1, 2, 3, 4], workers=workers, description="squares"))
    assert {n: r for n, r in results.items() if n != 3} == {1: 1, 2: 4, 4: 16}
    assert isinstance(results[3], UserError)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_not_hidden(workers):
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(square, [1, 99], workers=workers, description="squares"))


def test_nothing_to_do_is_nothing_done():
    assert list(parallel_map(square, [], workers=2, description="squares")) == []


def test_zero_workers_means_one_per_core():
    assert worker_count(0) >= 1
    assert worker_count(5) == 5
