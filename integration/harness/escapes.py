"""Ways in which a plain role could change who a session is: texts for the tests of the guard.

Expressions that set a variable, statements around an expression, and statements of their own kind. An escape
of several steps is several texts, sent one after another.
"""

from __future__ import annotations

from collections.abc import Iterator

from .escape_expressions import EXPRESSIONS, PLACES
from .escape_statements import CODE, STATEMENTS, Escape

# What some of them need, made by a superuser.
SCHEMA = """
    CREATE SCHEMA hideout;
    GRANT USAGE, CREATE ON SCHEMA hideout TO subjects;
    CREATE TABLE hideout.escape_later (b int);
    CREATE TABLE hideout.escape_keys (a text);
    CREATE TABLE hideout.escape_parts (a text) PARTITION BY LIST (a);
    CREATE TABLE hideout.escape_copy AS SELECT * FROM pg_settings LIMIT 0;
    INSERT INTO hideout.escape_later VALUES (1);
    INSERT INTO hideout.escape_keys SELECT 'a' FROM generate_series(1, 20);
    ALTER TABLE hideout.escape_later OWNER TO alice;
    ALTER TABLE hideout.escape_keys OWNER TO alice;
    ALTER TABLE hideout.escape_parts OWNER TO alice;
    ALTER TABLE hideout.escape_copy OWNER TO alice;
"""
CLEANING = """
    DROP SCHEMA IF EXISTS hideout CASCADE;
    ALTER ROLE alice RESET ALL;
    ALTER ROLE alice IN DATABASE demo RESET ALL;
"""
EXTENSIONS = ["tablefunc", "xml2", "refint", "dblink"]


def _filled(text: str, name: str, value: str) -> str:
    parts = {
        "name": name,
        "NAME": name.upper(),
        "Name": name.title(),
        "ident": name,
        "IDENT": name.upper(),
        "value": value,
        "first": name[:1],
        "rest": name[1:],
        "hex": f"{ord(name[0]):02x}",
        "octal": f"{ord(name[0]):03o}",
        "unicode": f"{ord(name[0]):04x}",
        "hexname": name.encode().hex(),
        "reversed": name[::-1],
        "length": str(len(name)),
    }
    for key, part in parts.items():
        text = text.replace("{" + key + "}", part)
    return text.replace("{{", "{").replace("}}", "}")


def escapes(name: str, value: str, *, everywhere: bool) -> Iterator[Escape]:
    """Attempts to give a variable a value. `everywhere`: in every spelling and every place."""
    plain = EXPRESSIONS[0]
    texts = [(place, plain) for place in PLACES] if everywhere else []
    texts += [(("SELECT {e}",), expression) for expression in EXPRESSIONS[: None if everywhere else 12]]
    for place, expression in texts:
        yield tuple(_filled(text.replace("{e}", expression), name, value) for text in place)
    for statement in STATEMENTS:
        filled = tuple(_filled(text, name, value) for text in statement)
        if everywhere or filled != statement:
            yield filled


def code(name: str, value: str) -> Iterator[Escape]:
    """The same by code of the client's own."""
    for attempt in CODE:
        yield tuple(_filled(text, name, value) for text in attempt)
