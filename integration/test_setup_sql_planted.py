"""`pgdog-jwt setup sql` where somebody who may create things was there first: nothing is taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from harness import Installation
from harness.external import is_external
from harness.installation import chosen_installations
from harness.proof import PASSWORD, ClaimsServer, Session, script

DATABASE = "planted"
NAMES = (
    ("current_tenant_id()", "text"),
    ("pgvpd_context(variable text)", "text"),
    ("pgvpd_context_array(variable text)", "text[]"),
    ("pgvpd_context_uuid_array(variable text)", "uuid[]"),
    ("pgvpd_context_contains(variable text, value uuid)", "boolean"),
    ("pgvpd_context_text_contains(variable text, value text)", "boolean"),
    ("pgvpd_protect(target regclass, column_name name DEFAULT 'tenant_id')", "void"),
    ("pgvpd_protect_acl(target regclass, ways jsonb)", "void"),
    (
        "pgvpd_status()",
        "TABLE (table_name text, rls_enabled boolean, rls_forced boolean, policy_count bigint)",
    ),
)
BODY = "LANGUAGE plpgsql AS $$ BEGIN RETURN; END $$"
EVERY_VERSION = [] if is_external() else chosen_installations()


@pytest.fixture(scope="module", params=EVERY_VERSION, ids=lambda one: f"PostgreSQL {one.version}")
def server(request: pytest.FixtureRequest, claims_server: Callable[..., ClaimsServer]) -> ClaimsServer:
    installation: Installation = request.param
    return claims_server(installation)


@pytest.fixture
def plain(server: ClaimsServer) -> Iterator[ClaimsServer]:
    """A server with an empty database in which everybody may create: the default before PostgreSQL 15."""
    with server.admin("postgres") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {DATABASE}")
        admin.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO bob")
    with server.admin(DATABASE) as admin:
        admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
    yield server
    server.close_sessions()
    with server.admin("postgres") as admin:
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def attacker(plain: ClaimsServer) -> Session:
    return plain.session(user="bob", dbname=DATABASE)


def install(server: ClaimsServer, *, pgvpd: bool = False) -> None:
    with server.admin(DATABASE) as admin:
        admin.execute(script(pgvpd=pgvpd))


def refused(server: ClaimsServer, *words: str, pgvpd: bool = False) -> psycopg.Error:
    """The installation is refused in these words, and nothing of it stays."""
    before = objects(server)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as caught:
        install(server, pgvpd=pgvpd)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.diag.message_hint
    assert objects(server) == before
    return caught.value


def objects(server: ClaimsServer) -> list[tuple[object, ...]]:
    with server.admin(DATABASE) as admin:
        return admin.execute(
            "SELECT pg_proc.oid::regprocedure::text, proowner, prosrc FROM pg_proc "
            "JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname IN ('public', 'jwt') ORDER BY 1"
        ).fetchall()


@pytest.mark.parametrize(("signature", "result"), NAMES, ids=lambda value: value.split("(")[0])
def test_a_planted_function_is_not_taken_over(
    plain: ClaimsServer, attacker: Session, signature: str, result: str
) -> None:
    """CREATE OR REPLACE would keep the owner, who changes the body later."""
    attacker.run(f"CREATE FUNCTION public.{signature} RETURNS {result} {BODY.replace('RETURN;', 'NULL;')}")
    refused(plain, signature.split("(")[0], 'role "bob"', pgvpd=True)


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE FUNCTION public.pgvpd_protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'",
        "CREATE FUNCTION public.pgvpd_protect(text, VARIADIC text[]) RETURNS void LANGUAGE sql AS 'SELECT'",
        "CREATE FUNCTION public.current_tenant_id(n int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT n'",
        "CREATE PROCEDURE public.pgvpd_protect(text, text) LANGUAGE sql AS 'SELECT'",
        "CREATE AGGREGATE public.pgvpd_context_array(text) (SFUNC = textcat, STYPE = text)",
        "CREATE DOMAIN public.pgvpd_protect AS text",
        "CREATE TYPE public.pgvpd_context AS ENUM ('x')",
        "CREATE TABLE public.pgvpd_status (n int)",
    ],
)  # fmt: skip
def test_what_would_stand_in_the_way_of_the_names_is_refused(
    plain: ClaimsServer, attacker: Session, planted: str
) -> None:
    """`pgvpd_protect('orders', 'tenant_id')` would call a function of two texts first, and
    `pgvpd_protect('orders')` is a cast where a type has that name."""
    attacker.run(planted)
    refused(plain, "pgvpd_" if "pgvpd" in planted else "current_tenant_id", 'role "bob"', pgvpd=True)


def test_a_function_that_was_only_given_to_the_owner_is_refused(
    plain: ClaimsServer, attacker: Session
) -> None:
    """Its body is still what the attacker wrote, and no script replaces it."""
    attacker.run("CREATE FUNCTION public.pgvpd_protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
    with plain.admin(DATABASE) as admin:
        admin.execute("ALTER FUNCTION public.pgvpd_protect(text, text) OWNER TO postgres")
    refused(plain, "pgvpd_protect(text,text)", pgvpd=True)


def test_what_is_planted_during_the_installation_is_refused(plain: ClaimsServer, attacker: Session) -> None:
    text = script(pgvpd=True)
    place = text.index("CREATE OR REPLACE FUNCTION public.")
    with plain.admin(DATABASE) as admin:
        admin.execute(text[:place])
        attacker.run("CREATE FUNCTION public.pgvpd_protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match='role "bob"'):
            admin.execute(text[place:])
        admin.execute("ROLLBACK")
    assert [row[0] for row in objects(plain)] == ["pgvpd_protect(text,text)"]


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TABLE jwt.keys (id text PRIMARY KEY, inner_pad bytea, outer_pad bytea, "
        "created_at timestamptz, retired_at timestamptz)",
        "CREATE VIEW jwt.keys AS SELECT 'x'::text AS id",
        "CREATE FUNCTION jwt.version() RETURNS text LANGUAGE sql AS $$ SELECT '1' $$",
        "CREATE FUNCTION jwt.claims() RETURNS jsonb LANGUAGE sql AS $$ SELECT '{}'::jsonb $$",
        "CREATE FUNCTION jwt.protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'",
        "CREATE FUNCTION jwt.foreign_objects() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE jwt.claim AS ENUM ('x')",
        "CREATE DOMAIN jwt.protect AS text",
        "CREATE OPERATOR jwt.=== (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text)",
        "CREATE OPERATOR FAMILY jwt.f USING btree",
        'CREATE COLLATION jwt.c FROM "C"',
        "CREATE SEQUENCE jwt.s",
        "CREATE TEXT SEARCH DICTIONARY jwt.d (TEMPLATE = pg_catalog.simple)",
        "CREATE TEXT SEARCH CONFIGURATION jwt.x (COPY = pg_catalog.simple)",
        "CREATE TABLE public.wide (a int, b int); CREATE STATISTICS jwt.wide ON a, b FROM public.wide",
        "CREATE CONVERSION jwt.v FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
    ],
)  # fmt: skip
def test_a_schema_with_objects_of_others_is_not_taken_over(
    plain: ClaimsServer, attacker: Session, planted: str
) -> None:
    """A schema changes its owner without what is in it."""
    superuser_only = "OPERATOR FAMILY" in planted
    attacker.run("CREATE SCHEMA jwt")
    if superuser_only:
        with plain.admin(DATABASE) as admin:
            admin.execute(planted)
            admin.execute("ALTER OPERATOR FAMILY jwt.f USING btree OWNER TO bob")
    else:
        attacker.run(planted)
    with plain.admin(DATABASE) as admin:
        admin.execute("ALTER SCHEMA jwt OWNER TO postgres")
    refused(plain, 'role "bob"')


def test_an_object_of_a_predefined_role_is_not_taken_for_the_owners(
    plain: ClaimsServer, attacker: Session
) -> None:
    """PostgreSQL notes no dependency on a predefined role, and the owner of the database is this one."""
    if plain.major < 14:
        pytest.skip("there is no pg_database_owner")
    with plain.admin("postgres") as admin:
        admin.execute(f"ALTER DATABASE {DATABASE} OWNER TO bob")
    attacker.run("CREATE SCHEMA jwt; GRANT CREATE ON SCHEMA jwt TO pg_database_owner")
    attacker.run("CREATE FUNCTION jwt.find(text) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    attacker.run("ALTER FUNCTION jwt.find(text) OWNER TO pg_database_owner")
    with plain.admin(DATABASE) as admin:
        admin.execute("ALTER SCHEMA jwt OWNER TO postgres")
    refused(plain, 'role "pg_database_owner"')


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TRIGGER t BEFORE INSERT ON jwt.keys FOR EACH ROW EXECUTE FUNCTION public.look()",
        "CREATE RULE r AS ON INSERT TO jwt.keys DO ALSO NOTIFY keys",
        "CREATE POLICY p ON jwt.keys USING (true)",
        "CREATE TABLE public.child () INHERITS (jwt.keys)",
        "ALTER TABLE jwt.keys ALTER inner_pad SET DEFAULT public.pad()",
        "ALTER TABLE jwt.keys ADD CHECK (public.is_known(outer_pad))",
        "CREATE INDEX ON jwt.keys (public.seen(id))",
        "ALTER TABLE jwt.keys ADD extra text",
        "ALTER TABLE jwt.keys SET UNLOGGED",
        "CREATE TABLE public.parent (LIKE jwt.keys); ALTER TABLE jwt.keys INHERIT public.parent",
    ],
)  # fmt: skip
def test_keys_with_something_on_them_are_refused(
    plain: ClaimsServer, attacker: Session, planted: str
) -> None:
    """Rights once given on the table let others hang code on it, which runs as whoever adds a key."""
    attacker.run(
        "CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE FUNCTION public.pad() RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;"
        "CREATE FUNCTION public.is_known(bytea) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE FUNCTION public.seen(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'"
    )
    install(plain)
    with plain.admin(DATABASE) as admin:
        admin.execute("GRANT TRIGGER ON jwt.keys TO bob")
        if "TRIGGER" not in planted:
            admin.execute(planted)
    if "TRIGGER" in planted:
        attacker.run(planted)
    refused(plain, "jwt.keys")


def test_an_event_trigger_that_another_role_can_change_is_refused(
    plain: ClaimsServer, attacker: Session
) -> None:
    attacker.run(
        "CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_user = 'postgres' THEN ALTER ROLE bob SUPERUSER; END IF; END $$"
    )
    with plain.admin(DATABASE) as admin:
        admin.execute("CREATE EVENT TRIGGER audit ON ddl_command_end EXECUTE FUNCTION public.on_ddl()")
    before = objects(plain)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r'event trigger "audit".* role "bob"'):
        install(plain)
    assert plain.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'") == [(False,)]
    assert objects(plain) == before
    with plain.admin(DATABASE) as admin:
        admin.execute("DROP EVENT TRIGGER audit")
    install(plain)


def test_the_search_path_of_whoever_installs_finds_nothing_planted(
    plain: ClaimsServer, attacker: Session
) -> None:
    for signature, result in (
        ("format(text, VARIADIC text[])", "text"),
        ("format(text, text)", "text"),
        ("quote_ident(text)", "text"),
        ("pg_has_role(name, text, text)", "boolean"),
        ("to_regprocedure(text)", "regprocedure"),
        ("array_to_string(text[], text)", "text"),
    ):
        attacker.run(
            f"CREATE FUNCTION public.{signature} RETURNS {result} LANGUAGE plpgsql AS "
            "$$ BEGIN ALTER ROLE bob SUPERUSER; RETURN NULL; END $$"
        )
    attacker.run("CREATE OPERATOR public.<> (FUNCTION = nameeqtext, LEFTARG = name, RIGHTARG = text)")
    attacker.run("CREATE DOMAIN public.jsonb AS text; CREATE DOMAIN public.regclass AS oid")
    with plain.admin(DATABASE) as admin:
        admin.execute("SET search_path = public, pg_catalog")
        admin.execute(script(pgvpd=True))
        assert admin.execute(
            "SELECT count(*) FROM pg_catalog.pg_proc, pg_catalog.unnest(proargtypes) AS t (oid) "
            "JOIN pg_catalog.pg_type ON pg_type.oid = t.oid WHERE proname OPERATOR(pg_catalog.~) '^pgvpd_' "
            "AND typnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)
    assert plain.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'bob'") == [(False,)]


def test_the_names_of_pgvpd_are_aliases_of_the_owner(plain: ClaimsServer) -> None:
    for _ in range(2):
        install(plain, pgvpd=True)
        with plain.admin(DATABASE) as admin:
            rows = admin.execute(
                "SELECT proname, pg_get_userbyid(proowner), prosecdef, prosrc FROM pg_proc "
                "WHERE pronamespace = 'public'::regnamespace"
            ).fetchall()
        assert len(rows) == len(NAMES)
        for name, owner, definer, source in rows:
            assert (owner, definer) == ("postgres", False), name
            assert "FROM jwt." in source or source.strip().startswith("SELECT jwt."), source


def test_an_installation_from_before_the_aliases_is_brought_up(plain: ClaimsServer) -> None:
    """Policies that name its functions stay."""
    install(plain)
    with plain.admin(DATABASE) as admin:
        admin.execute(
            "CREATE FUNCTION public.current_tenant_id() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE "
            "SET search_path = pg_catalog, pg_temp "
            "AS $$ SELECT nullif(current_setting('app.current_tenant_id', true), '') $$"
        )
        admin.execute(
            "CREATE TABLE public.orders (tenant_id text); ALTER TABLE orders ENABLE ROW LEVEL SECURITY"
        )
        admin.execute("CREATE POLICY mine ON orders USING (tenant_id = current_tenant_id())")
        admin.execute("INSERT INTO orders VALUES ('acme'), ('umbrella'); GRANT SELECT ON orders TO alice")
    install(plain, pgvpd=True)
    session = plain.session(user="alice", dbname=DATABASE)
    session.run("SET app.current_tenant_id = 'acme'")
    assert session.run("TABLE public.orders") == [("acme",)]


def test_whoever_may_create_beside_the_names_is_said(plain: ClaimsServer) -> None:
    with plain.admin(DATABASE) as admin:
        said: list[str | None] = []
        admin.add_notice_handler(lambda notice: said.extend([notice.message_primary, notice.message_hint]))
        admin.execute(script(pgvpd=True))
        assert said == [
            "PUBLIC may create in schema public what calls of pgvpd's names find first",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
        ]
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        said.clear()
        admin.execute(script(pgvpd=True))
        assert said == []


def test_installing_again_takes_every_right_on_the_keys_away(plain: ClaimsServer, attacker: Session) -> None:
    install(plain)
    with plain.admin(DATABASE) as admin:
        for grant in (
            "GRANT SELECT (inner_pad, outer_pad), INSERT (id) ON jwt.keys TO bob WITH GRANT OPTION",
            "GRANT UPDATE (retired_at) ON jwt.keys TO PUBLIC",
            "GRANT CREATE ON SCHEMA jwt TO bob",
            "GRANT EXECUTE ON FUNCTION jwt.add_key(text, text), jwt.set_tenant_claim(text) TO bob",
        ):
            admin.execute(grant)
    attacker.run("SELECT inner_pad FROM jwt.keys; GRANT SELECT (inner_pad) ON jwt.keys TO alice")

    install(plain)

    for statement in (
        "SELECT inner_pad FROM jwt.keys",
        "UPDATE jwt.keys SET retired_at = now()",
        "INSERT INTO jwt.keys (id) VALUES ('x')",
        "CREATE TABLE jwt.t ()",
        "SELECT jwt.add_key('x', repeat('x', 40))",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attacker.run(statement)
    other = plain.session(user="alice", dbname=DATABASE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        other.run("SELECT inner_pad FROM jwt.keys")


def test_default_privileges_of_columns_and_functions_open_nothing(plain: ClaimsServer) -> None:
    with plain.admin(DATABASE) as admin:
        admin.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO bob")
        admin.execute("ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO bob")
        admin.execute(script(pgvpd=True))
        rows = admin.execute(
            "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE proname IN ('add_key', 'create_key', "
            "'retire_key', 'set_tenant_claim') AND has_function_privilege('bob', p.oid, 'EXECUTE')"
        ).fetchall()
        assert rows == []
        assert admin.execute("SELECT has_table_privilege('bob', 'jwt.keys', 'SELECT')").fetchone() == (False,)


def test_an_owner_that_is_no_superuser_is_held_by_the_same_rules(plain: ClaimsServer) -> None:
    with plain.admin("postgres") as admin:
        admin.execute(f"CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}' IN ROLE pg_read_all_stats")
        admin.execute(f"ALTER DATABASE {DATABASE} OWNER TO keeper")
    keeper = plain.session(user="keeper", dbname=DATABASE)
    bob = plain.session(user="bob", dbname=DATABASE)
    try:
        bob.run("CREATE FUNCTION public.current_tenant_id() RETURNS text LANGUAGE sql AS 'SELECT 1::text'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r'current_tenant_id.* role "bob"'):
            keeper.run(script(pgvpd=True))
        keeper.run("ROLLBACK")
        bob.run("DROP FUNCTION public.current_tenant_id()")
        keeper.run(script(pgvpd=True))
        keeper.run(script(pgvpd=True))
    finally:
        plain.close_sessions()
        with plain.admin("postgres") as admin:
            admin.execute(f"ALTER DATABASE {DATABASE} OWNER TO postgres")
        with plain.admin(DATABASE) as admin:
            admin.execute("DROP OWNED BY keeper CASCADE")
        with plain.admin("postgres") as admin:
            admin.execute("DROP ROLE keeper")
