"""docs/troubleshooting.md quotes what is really said: by the gateway's code or by other programs."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from harness import Installation, find_installations
from harness.gateway import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGE = DOCS / "troubleshooting.md"
CRATES = ("gateway", "pgdog-jwt", "pgdog-jwt-guard", "pgdog-jwt-protocol")

QUOTE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
REASON = re.compile(r"[a-z]+(?:_[a-z]+)*")
SQLSTATE = re.compile(r"[0-9A-Z]{5}")
GAP = "…"
# From this PostgreSQL on, its texts are those of the page.
SAYS_THE_SAME = 15


@dataclass(frozen=True)
class Quote:
    """A text that somebody may see, with the line of the page."""

    line: int
    text: str
    maker: str

    def parts(self) -> list[str]:
        """What stands between the gaps: a program in C has `%s` or `%d` there, with or without quotes."""
        return [part for part in (part.strip() for part in self.text.split(GAP)) if part.strip('" .,;:')]


@dataclass(frozen=True)
class Row:
    line: int
    head: tuple[str, ...]
    cells: tuple[str, ...]

    def quotes(self, column: int, maker: str) -> Iterator[Quote]:
        for text in QUOTE.findall(self.cells[column]):
            yield Quote(self.line, text, maker)


@functools.cache
def rows() -> tuple[Row, ...]:
    """Every row of every table of the page."""
    found, head, before = [], (), ""
    for number, line in enumerate(PAGE.read_text().splitlines(), start=1):
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | ")) if line.startswith("|") else ()
        if cells and not before:
            head = cells
        elif cells and not set(line) <= set("|- "):
            assert len(cells) == len(head), f"line {number} has another number of cells than its table"
            found.append(Row(number, head, cells))
        before = line if cells else ""
    return tuple(found)


@functools.cache
def quotes() -> tuple[Quote, ...]:
    """Of the tables of texts, with who makes them; and the details of the log, which the gateway makes."""
    found: list[Quote] = []
    for row in rows():
        if row.head[0] == "you see":
            found += row.quotes(0, row.cells[row.head.index("from")])
        elif row.head[0] == "the detail goes on":
            found += row.quotes(0, "gateway")
        elif row.head[0] == "reason":
            own, _, of_postgresql = row.cells[1].partition(" PostgreSQL: ")
            found += [Quote(row.line, text, "gateway") for text in QUOTE.findall(own)]
            found += [Quote(row.line, text, "PostgreSQL") for text in QUOTE.findall(of_postgresql)]
    return tuple(found)


@functools.cache
def texts_of_the_code() -> tuple[str, ...]:
    """Each source file with its strings as they come out, without comments and tests."""
    found = []
    for crate in CRATES:
        for path in sorted((REPOSITORY / crate / "src").rglob("*.rs")):
            if "tests" in path.parts or path.stem == "tests":
                continue
            code = path.read_text().split("#[cfg(test)]\nmod tests {", 1)[0]
            code = re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)
            code = re.sub(r"\\\n\s*", "", code)
            # {0:?} shows a text in quotes.
            code = re.sub(r"\{[\w.]*:\?\}", f'"{GAP}"', code)
            found.append(code.replace('\\"', '"').replace("\\\\", "\\"))
    return tuple(found)


def in_code(quote: Quote) -> bool:
    """In one file, whatever stands in its gaps."""
    return any(all(part.strip('" ') in code for part in quote.parts()) for code in texts_of_the_code())


def newest() -> Installation:
    return max(find_installations(), key=lambda one: one.major)


@functools.cache
def postgres() -> bytes:
    return newest().program("postgres").read_bytes()


@functools.cache
def libpq() -> bytes:
    """That of psycopg, the same on every machine."""
    folder = Path(psycopg.__file__).parent.parent / "psycopg_binary.libs"
    return b"".join(path.read_bytes() for path in folder.glob("libpq*"))


@functools.cache
def psycopg_itself() -> bytes:
    return b"".join(path.read_bytes() for path in Path(psycopg.__file__).parent.glob("*.py"))


@functools.cache
def system() -> bytes:
    return "\n".join(map(os.strerror, errno.errorcode)).encode()


PROGRAMS = {"PostgreSQL": postgres, "libpq": libpq, "psycopg": psycopg_itself, "system": system}
MAKERS = ("gateway", *PROGRAMS)


def is_said(quote: Quote) -> bool:
    if quote.maker == "gateway":
        return in_code(quote)
    program = PROGRAMS[quote.maker]()
    return all(part.strip('" ').encode() in program for part in quote.parts())


def missing(maker: str) -> list[str]:
    """Quotes that their maker does not say."""
    return [f"line {q.line}: {q.text}" for q in quotes() if q.maker == maker and not is_said(q)]


@pytest.mark.parametrize("maker", MAKERS)
def test_each_text_on_the_page_is_said(maker: str) -> None:
    if maker == "PostgreSQL" and newest().major < SAYS_THE_SAME:
        pytest.skip("the page has the words of later versions")
    assert missing(maker) == []


def test_each_text_has_a_maker() -> None:
    assert {quote.maker for quote in quotes()} == set(MAKERS)
    assert all(quote.parts() for quote in quotes())


def test_each_sqlstate_of_the_gateway_is_one_of_its_own() -> None:
    said = "\n".join(texts_of_the_code())
    found = [
        (row.line, state)
        for row in rows()
        if row.head[0] == "you see" and row.cells[2] == "gateway"
        for state in SQLSTATE.findall(row.cells[1])
    ]
    assert found
    assert [one for one in found if f'"{one[1]}"' not in said] == []


def reasons_of(page: Path, column: int = 0) -> set[str]:
    """Of refused logins: audit.md has those of sessions and statements in a table behind them."""
    text = page.read_text().split("Of refused logins: what the token said, first.")[-1]
    text = text.split("Of sessions and statements:")[0]
    cells = [line.strip("|").split(" | ")[column] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in QUOTE.findall(cell) if REASON.fullmatch(name)}


def test_each_reason_of_a_refused_login_has_an_entry() -> None:
    entries = {name for row in rows() if row.head[0] == "reason" for name in QUOTE.findall(row.cells[0])} | {
        "malformed_token"
    }
    of_renewals = {"other_subject", "other_session"}

    assert entries - {"too_many_failures", "revoked"} == reasons_of(DOCS / "audit.md") - of_renewals
    code = "\n".join(texts_of_the_code())
    assert [name for name in sorted(entries) if f'"{name}"' not in code] == []


def anchors(page: Path) -> set[str]:
    """Of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_link_leads_somewhere() -> None:
    broken = []
    for file, anchor in LINK.findall(PAGE.read_text()):
        page = DOCS / file if file else PAGE
        if not page.is_file() or (anchor and anchor not in anchors(page)):
            broken.append(f"{file}#{anchor}")
    assert broken == []


def test_a_text_that_nobody_says_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    invented = [Quote(1, "the gateway is tired", maker) for maker in MAKERS]
    monkeypatch.setattr(f"{__name__}.quotes", lambda: tuple(invented))

    assert [len(missing(maker)) for maker in MAKERS] == [1] * len(MAKERS)
