"""Who gets which worker, and what is refused."""

from __future__ import annotations

import math

from mixedflow.plugins.ledger import Capacity, Ledger, Need


def told(**more):
    return {"resources": {}, "nthreads": 4, "memory_limit": 0} | more


def test_a_worker_has_what_it_declares_and_else_its_threads_and_limit():
    assert Capacity.of(told()) == Capacity(4, math.inf)
    assert Capacity.of(told(memory_limit=2_000_000_000)).mem_mb == 2000
    declared = Capacity.of(told(resources={"CPU": 2, "GPU": 1}))
    assert declared == Capacity(2, math.inf, frozenset({"CPU"}))
    assert declared.resources(Need(2, 500)) == {"CPU": 2}
    assert Capacity.of(told()).resources(Need(2, 500)) == {}


def ledger(**workers):
    return Ledger({name: Capacity(*size) for name, size in workers.items()})


def test_jobs_go_where_most_is_free_and_never_beyond():
    book = ledger(a=(2, 1000), b=(3, 1000))
    for number in range(7):
        book.add(f"job{number}", Need(1, 300), 0)
    assert [place for _, place, _ in book.place()] == ["b", "a", "b", "a", "b"]
    assert book.place() == []
    book.forget("job0")
    assert book.place() == [("job5", "b", Need(1, 300))]


def test_memory_bounds_too():
    book = ledger(a=(8, 1000))
    for number in range(3):
        book.add(f"job{number}", Need(1, 400), 0)
    assert [key for key, _, _ in book.place()] == ["job0", "job1"]


def test_the_more_urgent_goes_first_and_equals_in_order():
    book = ledger(a=(2, 1000))
    for key, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
        book.add(key, Need(1), priority)
    assert [key for key, _, _ in book.place()] == ["high", "first"]


def test_small_jobs_do_not_hold_up_a_large_one():
    book = ledger(a=(2, 1000))
    book.add("running", Need(1), 0)
    book.place()
    book.add("large", Need(2), 0)
    book.add("small", Need(1), 0)
    assert book.place() == []
    book.forget("running")
    assert book.place() == [("large", "a", Need(2))]


def test_what_no_worker_can_hold_is_refused_in_a_sentence():
    book = ledger(a=(2, math.inf), b=(4, 500))
    assert book.refusal("rule fit", Need(2, 9000)) == ""
    assert book.refusal("rule fit", Need(3, 9000)) == (
        "no Dask worker can ever run rule fit: it asks for 3 threads and 9000 MB, "
        "and the largest worker has 4 threads and 500 MB"
    )
    assert Ledger().refusal("rule fit", Need(3)) == ""
