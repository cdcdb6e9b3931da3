-- Verified claims and row-level security for pgdog-jwt, in plain SQL and PL/pgSQL: no extension, PostgreSQL 13 and later.
-- To be run in one transaction by the role that shall own it; may be run again at any time, also over an older version.
-- What it does and how to use it: docs/verified-claims.md.
--
-- Two rules hold in every function that others call. `search_path` is fixed, so that nobody can put an object of their own
-- in the way. And no string constant holds a backslash without `E`, because a session may change
-- `standard_conforming_strings`, and with it what such a constant means.

SET LOCAL client_min_messages = warning;
-- Whoever installs this may have all rights: what others have put into their search path must not run with them.
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'jwt' AND pg_get_userbyid(nspowner) <> current_user) THEN
        RAISE EXCEPTION 'schema "jwt" belongs to another role'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Install as the role that owns it.';
    END IF;
    IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION 'role "%" cannot see when a session began', current_user
            USING ERRCODE = 'insufficient_privilege',
                HINT = format('GRANT pg_read_all_stats TO %I, or install as a superuser.', current_user);
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS jwt;

DO $$
DECLARE
    installed text;
BEGIN
    IF to_regprocedure('jwt.version()') IS NOT NULL THEN
        EXECUTE 'SELECT jwt.version()' INTO installed;
        IF installed::integer > 1 THEN
            RAISE EXCEPTION 'version % is installed, which is newer', installed
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the newer script.';
        END IF;
    END IF;
END
$$;

-- The version of these scripts. It changes with them.
CREATE OR REPLACE FUNCTION jwt.version() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT '1' $$;

-- The two padded forms of each key that HMAC hashes with (RFC 2104), computed once. They are as secret as the key.
CREATE TABLE IF NOT EXISTS jwt.keys (
    id text COLLATE "C" PRIMARY KEY,
    inner_pad bytea,
    outer_pad bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz,
    CONSTRAINT id_is_short_and_plain CHECK (id ~ '^[A-Za-z0-9_-]{1,64}$'),
    CONSTRAINT a_retired_key_is_gone CHECK ((retired_at IS NULL) = (inner_pad IS NOT NULL))
);

-- Default privileges may have given others rights on what was just created.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT objects.name,
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS role
        FROM (
            SELECT format('TABLE jwt.%I', relname) AS name, relowner AS owner, relacl AS acl
                FROM pg_class WHERE relnamespace = 'jwt'::regnamespace AND relkind = 'r'
            UNION ALL
            SELECT 'SCHEMA jwt', nspowner, nspacl FROM pg_namespace WHERE nspname = 'jwt'
        ) AS objects, aclexplode(objects.acl) AS acl
        WHERE acl.grantee <> objects.owner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s CASCADE', granted.name, granted.role);
    END LOOP;
END
$$;
GRANT USAGE ON SCHEMA jwt TO PUBLIC;
