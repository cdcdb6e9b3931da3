-- The database that the demo and the tests work in. Run by a superuser.

-- The account that the gateway logs in with. It has no rights of its own: NOINHERIT, so that it must become
-- a subject's role before it can read or write anything.
CREATE ROLE gateway LOGIN NOINHERIT PASSWORD 'gateway-secret';
CREATE ROLE gateway_md5 LOGIN NOINHERIT;
CREATE ROLE gateway_plain LOGIN NOINHERIT PASSWORD 'gateway-secret';
CREATE ROLE gateway_trust LOGIN NOINHERIT;
CREATE ROLE gateway_tls LOGIN NOINHERIT PASSWORD 'gateway-secret';
SET password_encryption = 'md5';
ALTER ROLE gateway_md5 PASSWORD 'gateway-secret';
RESET password_encryption;

-- What every subject may do.
CREATE ROLE subjects NOLOGIN;

-- Subjects: who the tokens speak of.
CREATE ROLE alice NOLOGIN;
CREATE ROLE bob NOLOGIN;
CREATE ROLE carol NOLOGIN;
CREATE ROLE reader NOLOGIN;
CREATE ROLE "o""brien; DROP TABLE notes --" NOLOGIN;
CREATE ROLE "Zoë 'Ünïcode' 名前" NOLOGIN;
CREATE ROLE "alice@example.com" NOLOGIN;
-- 63 bytes, the longest name there is.
CREATE ROLE "long_23456789_123456789_123456789_123456789_123456789_123456789" NOLOGIN;
GRANT subjects TO alice, bob, carol, reader, "o""brien; DROP TABLE notes --", "Zoë 'Ünïcode' 名前",
    "alice@example.com", "long_23456789_123456789_123456789_123456789_123456789_123456789";
GRANT alice, bob, carol, reader, "o""brien; DROP TABLE notes --", "Zoë 'Ünïcode' 名前", "alice@example.com",
    "long_23456789_123456789_123456789_123456789_123456789_123456789"
    TO gateway, gateway_md5, gateway_plain, gateway_trust, gateway_tls;

-- Exists, but the gateway was not given it.
CREATE ROLE stranger NOLOGIN;
-- The gateway was given these, but no token may become them: row-level security would not hold them.
CREATE ROLE boss NOLOGIN SUPERUSER;
CREATE ROLE snoop NOLOGIN BYPASSRLS;
GRANT boss, snoop TO gateway;
-- Services that log in with a password of their own.
CREATE ROLE service LOGIN PASSWORD 'service-secret';
CREATE ROLE reports LOGIN PASSWORD 'reports-secret';
GRANT subjects TO service, reports;

-- Every subject sees its own rows and no others.
CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner name NOT NULL DEFAULT current_user,
    body text NOT NULL
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes USING (owner = current_user) WITH CHECK (owner = current_user);
GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO subjects;
INSERT INTO notes (owner, body) VALUES
    ('alice', 'alice was here'),
    ('alice', 'and here'),
    ('bob', 'bob''s only note'),
    ('reader', 'seen by the reader');

-- Where tests may make tables of their own.
CREATE SCHEMA scratch;
GRANT USAGE, CREATE ON SCHEMA scratch TO subjects;

-- Says which of the servers answers.
CREATE FUNCTION served_by() RETURNS text LANGUAGE sql STABLE
    AS $$ SELECT CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END $$;
-- The same as a table to read from; the setting of this name came with PostgreSQL 14.
CREATE VIEW in_hot_standby AS SELECT CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END AS setting;
GRANT SELECT ON in_hot_standby TO PUBLIC;
-- A function whose call writes: not to be sent to a replica just because the statement starts with SELECT.
CREATE FUNCTION add_note(body text) RETURNS bigint LANGUAGE sql VOLATILE
    AS $$ INSERT INTO notes (body) VALUES (add_note.body) RETURNING id $$;
