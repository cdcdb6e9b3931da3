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

-- Before anything is made: what would run by itself in this transaction, and may be another's to change.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT evtname, evtfoid::regprocedure AS function, pg_get_userbyid(proowner) AS owner
        FROM pg_event_trigger JOIN pg_proc ON pg_proc.oid = evtfoid JOIN pg_roles ON pg_roles.oid = proowner
        WHERE evtenabled <> 'D' AND NOT rolsuper AND rolname <> current_user
    LOOP
        RAISE EXCEPTION 'event trigger "%" calls %, which belongs to role "%"', found.evtname, found.function, found.owner
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'It would run with the rights of whoever installs this: disable or drop the event trigger first.';
    END LOOP;
    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'jwt' AND pg_get_userbyid(nspowner) <> current_user) THEN
        RAISE EXCEPTION 'schema "jwt" belongs to another role'
            USING ERRCODE = 'insufficient_privilege', HINT = 'Install as the role that owns it.';
    END IF;
    -- What follows replaces functions and runs them. All else is looked at by `jwt.foreign_objects`.
    FOR found IN
        SELECT pg_proc.oid::regprocedure AS function, pg_get_userbyid(proowner) AS owner
        FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = 'jwt' AND proowner <> nspowner
    LOOP
        RAISE EXCEPTION 'function % belongs to role "%"', found.function, found.owner
            USING ERRCODE = 'insufficient_privilege', HINT = 'Find out what it is for, then drop it. Do not change its owner.';
    END LOOP;
    IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION 'role "%" cannot see when a session began', current_user
            USING ERRCODE = 'insufficient_privilege',
                HINT = format('GRANT pg_read_all_stats TO %I, or install as a superuser.', current_user);
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS jwt;

-- What is in schema jwt and does not belong to its owner. CREATE OR REPLACE keeps the owner of a function, and IF NOT EXISTS
-- keeps all of a table: who was there first could change them later. By the catalogues themselves, because PostgreSQL notes
-- no dependency on roles of its own, such as `pg_database_owner`.
CREATE OR REPLACE FUNCTION jwt.foreign_objects() RETURNS TABLE (object text, owner name)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH objects (class, oid, namespace, owner) AS (
        SELECT 'pg_class'::regclass, oid, relnamespace, relowner FROM pg_class
        UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, typowner FROM pg_type
        UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proowner FROM pg_proc
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, oprowner FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace, opcowner FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, opfowner FROM pg_opfamily
        UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, collowner FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, conowner FROM pg_conversion
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace, stxowner FROM pg_statistic_ext
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, dictowner FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, cfgowner FROM pg_ts_config
    )
    SELECT pg_describe_object(class, objects.oid, 0), pg_get_userbyid(objects.owner)
    FROM objects JOIN pg_namespace ON pg_namespace.oid = namespace
    WHERE nspname = 'jwt' AND objects.owner <> nspowner;
$$;

-- What hangs on the table of keys and is not of these scripts: code that would run as whoever adds a key, other tables that
-- would be read or written with it, another form.
CREATE OR REPLACE FUNCTION jwt.attached_to_keys() RETURNS SETOF text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH keys AS (
        SELECT relkind, relpersistence, relrowsecurity, oid AS keys FROM pg_class WHERE oid = to_regclass('jwt.keys')
    ), parts (class, object) AS (
        SELECT 'pg_constraint'::regclass, pg_constraint.oid FROM pg_constraint, keys WHERE conrelid = keys
        UNION ALL SELECT 'pg_attrdef'::regclass, pg_attrdef.oid FROM pg_attrdef, keys WHERE adrelid = keys
        UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index, keys WHERE indrelid = keys
        UNION ALL SELECT 'pg_class'::regclass, keys FROM keys
    )
    SELECT pg_describe_object('pg_trigger'::regclass, pg_trigger.oid, 0) FROM pg_trigger, keys
        WHERE tgrelid = keys AND NOT tgisinternal
    UNION ALL
    SELECT pg_describe_object('pg_rewrite'::regclass, pg_rewrite.oid, 0) FROM pg_rewrite, keys WHERE ev_class = keys
    UNION ALL
    SELECT pg_describe_object('pg_policy'::regclass, pg_policy.oid, 0) FROM pg_policy, keys WHERE polrelid = keys
    UNION ALL
    SELECT pg_describe_object('pg_class'::regclass, CASE inhrelid WHEN keys THEN inhparent ELSE inhrelid END, 0)
        FROM pg_inherits, keys WHERE keys IN (inhrelid, inhparent)
    UNION ALL
    -- PostgreSQL notes no dependency on what is its own.
    SELECT DISTINCT pg_describe_object(refclassid, refobjid, 0) || ' in ' || pg_describe_object(class, object, 0)
        FROM parts JOIN pg_depend ON classid = class AND objid = object
        WHERE refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_constraint'::regclass)
    UNION ALL
    SELECT 'another kind of relation' FROM keys WHERE relkind <> 'r' OR relpersistence <> 'p' OR relrowsecurity
    UNION ALL
    SELECT 'another set of columns' FROM keys
    WHERE ARRAY(SELECT format('%s %s', attname, format_type(atttypid, atttypmod)) FROM pg_attribute
            WHERE attrelid = keys AND attnum > 0 AND NOT attisdropped ORDER BY attname)
        <> '{"created_at timestamp with time zone","id text","inner_pad bytea","outer_pad bytea",'
            '"retired_at timestamp with time zone"}';
$$;

-- Ends an installation that would take over what others have made.
CREATE OR REPLACE FUNCTION jwt.refuse_foreign() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT * FROM jwt.foreign_objects() LOOP
        RAISE EXCEPTION '% belongs to role "%"', found.object, found.owner
            USING ERRCODE = 'insufficient_privilege', HINT = 'Find out what it is for, then drop it. Do not change its owner.';
    END LOOP;
    FOR found IN SELECT attached FROM jwt.attached_to_keys() AS attached LOOP
        RAISE EXCEPTION 'table jwt.keys has something that these scripts did not make: %', found.attached
            USING ERRCODE = 'insufficient_privilege', HINT = 'Find out what it is for, then drop it.';
    END LOOP;
END
$$;

DO $$
DECLARE
    installed text;
BEGIN
    PERFORM jwt.refuse_foreign();
    IF to_regprocedure('jwt.version()') IS NOT NULL THEN
        EXECUTE 'SELECT jwt.version()' INTO installed;
        IF installed::integer > 2 THEN
            RAISE EXCEPTION 'version % is installed, which is newer', installed
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Run the newer script.';
        END IF;
    END IF;
END
$$;

-- The version of these scripts. It changes with them.
CREATE OR REPLACE FUNCTION jwt.version() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT '2' $$;

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

-- Default privileges may have given others rights on what was just created, and somebody may have granted rights since. What
-- is revoked from a table is revoked from its columns too, but these must be looked at to find who has them.
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
            SELECT format('TABLE jwt.%I', relname), relowner, attacl
                FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
                WHERE relnamespace = 'jwt'::regnamespace AND relkind = 'r'
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
