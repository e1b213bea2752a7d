"""An HTML page as the tests look at it: its tags, its text, the rows of its tables."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = {"meta", "br", "wbr"}


class Page(HTMLParser):
    """Text and tags of a page; fails on a tag that is not closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words)

    def attributes(self, *names: str) -> list[str]:
        return [a[n] or "" for _, a in self.tags for n in names if n in a]

    def classes(self) -> set[str]:
        return {c for value in self.attributes("class") for c in value.split()}


def rows_of(parsed: Page, title: str) -> list[dict[str, str]]:
    """The rows of the table that has a column `title`, by the titles of its columns."""
    for number, row in enumerate(parsed.rows):
        if title in row:
            body = []
            for other in parsed.rows[number + 1 :]:
                if len(other) != len(row):
                    break
                body.append(dict(zip(row, other, strict=True)))
            return body
    raise AssertionError(title)
