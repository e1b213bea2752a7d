from __future__ import annotations

import os
from pathlib import Path

import pytest
from html_results import check_result
from report_records import fold_result

from bnopt.errors import SaveError
from bnopt.report.html import check_target, page, write


def test_write(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    target.chmod(0o640)
    assert write(check_result(2), target) == target
    assert target.read_text(encoding="utf-8") == page(check_result(2))
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["report.html"]


def test_write_of_a_stopped_fold_says_so(tmp_path: Path) -> None:
    write(fold_result(validation=None), tmp_path / "r.html", stopped=True)
    assert "Stopped, nothing written" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_write_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write(check_result(0), tmp_path / "r.html")
    finally:
        os.umask(old)
    assert (tmp_path / "r.html").stat().st_mode & 0o777 == 0o640


def is_folder(tmp_path: Path) -> Path:
    return tmp_path


def missing(tmp_path: Path) -> Path:
    return tmp_path / "no" / "r.html"


def link(tmp_path: Path) -> Path:
    (tmp_path / "link").symlink_to(tmp_path / "other")
    return tmp_path / "link"


def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def long_name(tmp_path: Path) -> Path:
    return tmp_path / ("x" * 300)


def null_byte(tmp_path: Path) -> Path:
    return tmp_path / "a\0b"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (is_folder, "it is a directory"),
        (missing, "there is no folder"),
        (link, "it is a symbolic link"),
        (pipe, "it is not a regular file"),
        (long_name, "File name too long"),
        (null_byte, "null byte"),
    ],
)
def test_bad_targets_are_refused_in_one_line(make: object, why: str, tmp_path: Path) -> None:
    target: Path = make(tmp_path)  # type: ignore[operator]
    before = sorted(os.listdir(tmp_path))
    for attempt in (lambda: write(check_result(0), target), lambda: check_target(target)):
        with pytest.raises(SaveError, match=f"cannot write .*{why}") as caught:
            attempt()
        assert "\n" not in caught.value.message
    assert sorted(os.listdir(tmp_path)) == before


def test_a_failure_leaves_the_target_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "r.html"
    target.write_text("old")

    def refuse(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SaveError, match="No space left on device"):
        write(check_result(0), target)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.html"]
