"""What random conversations are about: the statements, and the place where each client says them."""

from __future__ import annotations

from dataclasses import dataclass

INT4, TEXT = 23, 25

READS = (
    "SELECT 1",
    "SELECT n, word FROM items ORDER BY n",
    "SELECT n, word, next FROM items WHERE n > 5 ORDER BY n LIMIT 4",
    "SELECT NULL, '', 'x' WHERE false",
    "SELECT generate_series(1, 700)",
    "SELECT repeat('large ', 40000)",
    "SELECT repeat('wide', n) FROM items ORDER BY n",
    "TABLE items ORDER BY n",
    "SELECT count(*), current_user FROM items",
    "SHOW work_mem",
    "VALUES (1, 'one'), (2, 'two')",
)
WRITES = (
    "INSERT INTO items VALUES (100, 'a hundred')",
    "INSERT INTO items SELECT g, 'many' FROM generate_series(200, 220) AS g",
    "UPDATE items SET word = word || '!' WHERE n = 3 RETURNING n, word",
    "DELETE FROM items WHERE n = 7 RETURNING *",
    "DELETE FROM items WHERE n > 90",
    "WITH gone AS (DELETE FROM items WHERE n = 8 RETURNING n) SELECT * FROM gone",
    "CREATE TABLE IF NOT EXISTS made (n int)",
    "DROP TABLE IF EXISTS made",
    "INSERT INTO made VALUES (1)",
    "SELECT * FROM made ORDER BY 1",
)
# What makes statements out of date that were prepared before.
CHANGES = (
    "CREATE TABLE IF NOT EXISTS made (n int)",
    "CREATE TABLE made (n int, word text)",
    "DROP TABLE made",
    "ALTER TABLE made ADD COLUMN word text DEFAULT 'new'",
    "ALTER TABLE made DROP COLUMN word",
    "ALTER TABLE made ALTER n TYPE bigint",
    "ALTER TABLE made RENAME n TO number",
    "SELECT * FROM made ORDER BY 1",
    "INSERT INTO made SELECT 1 RETURNING *",
    "TABLE items ORDER BY n",
    "SELECT n, word FROM items ORDER BY n LIMIT 3",
)
ERRORS = (
    "SELECT 1/0",
    "SELECT 10 / (5 - g) FROM generate_series(1, 9) AS g",
    "SELECT * FROM missing",
    "INSERT INTO items VALUES (1, 'again')",
    "INSERT INTO items VALUES (101, 'points nowhere', 999)",
    "SELECT nothing()",
    "SELECT 'no number'::int",
    "SAVEPOINT s",
)
CONTROL = (
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "BEGIN READ ONLY",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT AND CHAIN",
)
NOTICES = ("DROP TABLE IF EXISTS none1, none2", "SELECT public.shout(300)", "COMMIT")
CURSORS = (
    "DECLARE rows CURSOR FOR SELECT n FROM items ORDER BY n",
    "FETCH 3 FROM rows",
    "MOVE 2 IN rows",
    "CLOSE rows",
)
SETTINGS = (
    "SET LOCAL work_mem = '5MB'",
    "SET work_mem = '6MB'",
    "RESET work_mem",
    "SHOW work_mem",
    "SELECT set_config('work_mem', '7MB', true)",
    "SELECT set_config('work_mem', '8MB', false), current_setting('work_mem')",
    "SET work_mem = 'nonsense'",
    "SET application_name = 'renamed'",
    "SHOW application_name",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET bytea_output = 'escape'",
    "SELECT '2024-02-29 12:00+00'::timestamptz, '\\x00ff'::bytea",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SHOW transaction_isolation",
    "RESET ALL",
)
# The same words mean other tables.
PATHS = (
    "SET search_path = schema_other",
    "SET LOCAL search_path = schema_other",
    "RESET search_path",
    "SHOW search_path",
    "TABLE items ORDER BY n",
    "SELECT n, word FROM items ORDER BY n LIMIT 3",
)
# By itself it is anywhere: the gateway takes it only as the last of its batch.
DISCARD_ALL = "DISCARD ALL"
DISCARDS = (
    "DISCARD PLANS",
    "DISCARD SEQUENCES",
    "DISCARD TEMP",
    "DEALLOCATE ALL",
)
PREPARES = (
    "PREPARE named (int) AS SELECT $1 + 1",
    "PREPARE other AS SELECT * FROM items ORDER BY n LIMIT 2",
    "PREPARE other AS SELECT * FROM made",
    "PREPARE named AS SELECT * FROM missing",
    "EXECUTE named (41)",
    "EXECUTE named",
    "EXECUTE other",
    "DEALLOCATE named",
    "DEALLOCATE PREPARE other",
)
HELD = (
    "LISTEN channel",
    "NOTIFY channel, 'hello'",
    "UNLISTEN *",
    "CREATE TEMPORARY TABLE passing AS SELECT 1 AS n",
    "SELECT * FROM passing",
    "SELECT pg_advisory_lock_shared(7)",
    "SELECT pg_advisory_unlock_shared(7)",
    "DECLARE held CURSOR WITH HOLD FOR SELECT n FROM items ORDER BY n",
    "FETCH 2 FROM held",
)
EMPTY = ("", ";", "  ", "-- nothing", ";;")
# Text, types of the parameters, values.
PARAMETRIC: tuple[tuple[str, tuple[int, ...], tuple[str | None, ...]], ...] = (
    ("SELECT $1::int + 1, $2::text", (INT4, TEXT), ("41", "två")),
    ("SELECT n, word FROM items WHERE n >= $1 ORDER BY n", (INT4,), ("10",)),
    ("INSERT INTO items VALUES ($1, $2) RETURNING word", (INT4, TEXT), ("150", None)),
    ("UPDATE items SET word = $2 WHERE n = $1", (INT4, TEXT), ("4", "four")),
    ("SELECT repeat($2, $1)", (INT4, TEXT), ("50000", "abc")),
    ("SELECT $1::text", (), ("x" * 70_000,)),
    ("SELECT 10 / $1", (INT4,), ("0",)),
    ("SELECT $1::int", (), ("no number " * 40_000,)),
)


@dataclass(frozen=True)
class Place:
    """What one client has for itself: two schemas, a channel and a large object's number."""

    number: int
    subject: str
    # Whether it may make what holds a session to its server: a pool bears only so many of those.
    holds: bool = True
    # Whether it may prepare statements by SQL, in queries of their own.
    prepares: bool = False

    @property
    def schema(self) -> str:
        return f"place_{self.number}"

    @property
    def schemas(self) -> tuple[str, str]:
        return self.schema, f"{self.schema}_other"

    @property
    def large_object(self) -> int:
        return 777_000 + self.number

    @property
    def preparation(self) -> str:
        """SQL that makes the tables in empty schemas."""
        return f"""
            CREATE TABLE items (n int PRIMARY KEY, word text,
                next int REFERENCES items DEFERRABLE INITIALLY DEFERRED);
            CREATE TABLE {self.schema}_other.items
                (word varchar(40), n bigint PRIMARY KEY, is_other bool DEFAULT true);
        """

    @property
    def reset(self) -> str:
        """SQL that makes everything as a talk expects to find it."""
        return f"""
            DROP TABLE IF EXISTS made, {self.schema}_other.made;
            DELETE FROM items;
            INSERT INTO items SELECT g, 'word ' || g || ' of {self.schema}' FROM generate_series(1, 20) AS g;
            DELETE FROM {self.schema}_other.items;
            INSERT INTO {self.schema}_other.items SELECT 'other ' || g, g FROM generate_series(1, 6) AS g;
            SELECT lo_unlink(oid) FROM pg_largeobject_metadata WHERE oid = {self.large_object};
        """


SHOUT = """
    CREATE OR REPLACE FUNCTION public.shout(times int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        FOR number IN 1..times LOOP
            RAISE NOTICE 'notice number % %', number, repeat('!', number % 90);
        END LOOP;
        RETURN times;
    END $$;
"""
