"""Nothing half-written is left, whatever goes wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mixedflow.data import atomic_file, atomic_folder, atomic_write_text, check_folder
from mixedflow.errors import OutputError


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "out"
    with atomic_folder(place) as folder:
        (folder / "a").write_text("1")
        assert not place.exists()
    with atomic_folder(place) as folder:
        (folder / "b").write_text("2")
    assert [p.name for p in place.iterdir()] == ["b"]
    assert [p.name for p in place.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    place = tmp_path / "out"
    with atomic_folder(place) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(type(error)), atomic_folder(place) as folder:  # noqa: PT012
        (folder / "b").write_text("2")
        raise error
    assert [p.name for p in place.iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_files(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "x" / "a.txt", "é\n")
    assert (tmp_path / "x" / "a.txt").read_text(encoding="utf-8") == "é\n"
    with pytest.raises(ValueError, match="no"), atomic_file(tmp_path / "b") as path:  # noqa: PT012
        path.write_text("half")
        raise ValueError("no")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_unwritable_places_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"'.*a\.txt' cannot be written: "):
        atomic_write_text(tmp_path / "file" / "a.txt", "x")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        atomic_folder(tmp_path / "file" / "o"),
    ):
        pass
    with pytest.raises(OutputError, match="no space left"), atomic_folder(tmp_path / "o"):
        raise OSError(28, "No space left on device")


def test_files_that_are_not_ours_are_never_replaced(tmp_path: Path) -> None:
    place = tmp_path / "thesis"
    place.mkdir()
    (place / "chapter.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds 'chapter\.tex', which is no part of what"):
        check_folder(place, ("fit.json",))
    with (
        pytest.raises(OutputError, match="a file of that name"),
        atomic_folder(place / "chapter.tex"),
    ):
        pass
    assert (place / "chapter.tex").read_text() == "years of work"


def test_parents_made_for_a_failure_go_with_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), atomic_folder(tmp_path / "a" / "b" / "out"):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())


def _write_often(place: Path, name: str) -> None:
    for k in range(60):
        with suppress(OutputError), atomic_folder(place) as folder:  # refused, never half-written
            for file in ("a", "b"):
                (folder / file).write_text(f"{name}{k}")


def test_writers_at_the_same_time_leave_what_one_of_them_wrote(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(_write_often, tmp_path / "o", name) for name in "pqrs"]:
            done.result()
    assert [p.name for p in tmp_path.iterdir()] == ["o"]
    assert (tmp_path / "o/a").read_text() == (tmp_path / "o/b").read_text()
