-- The names of pgvpd, for people who move over: optional, run after the other scripts. The functions are in schema jwt. In
-- schema public, where pgvpd had them and where others may often create things, there are only aliases.
--
-- As in pgvpd these read session variables, which are as safe as the gateway's guard. `jwt.protect` reads claims that the
-- gateway has proven.

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION jwt.pgvpd_context(variable text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT nullif(current_setting(variable, true), '') $$;

-- Parts between commas. Braces around them, as array literals have, are taken away.
CREATE OR REPLACE FUNCTION jwt.pgvpd_context_array(variable text) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT string_to_array(nullif(btrim(current_setting(variable, true), '{}'), ''), ',') $$;

CREATE OR REPLACE FUNCTION jwt.pgvpd_context_uuid_array(variable text) RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT jwt.pgvpd_context_array(variable)::uuid[] $$;

-- False, and not NULL, when the variable is not set.
CREATE OR REPLACE FUNCTION jwt.pgvpd_context_contains(variable text, value uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(value = ANY (jwt.pgvpd_context_uuid_array(variable)), false) $$;

CREATE OR REPLACE FUNCTION jwt.pgvpd_context_text_contains(variable text, value text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(value = ANY (jwt.pgvpd_context_array(variable)), false) $$;

-- Protects a table by the variable, and lets `app_user` use it where there is such a role.
CREATE OR REPLACE FUNCTION jwt.pgvpd_protect(target regclass, column_name name) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM jwt.protect(target, column_name, variable => 'app.current_tenant_id');
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_user') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO app_user', jwt.full_name(target));
    END IF;
END
$$;

-- Takes pgvpd's list: [{"column", "var", "type": "text" | "uuid" | "uuid_array" | "text_array"}]. `when` was SQL there; here
-- it is what `jwt.protect_acl` takes, with `var` as another name of `variable`.
CREATE OR REPLACE FUNCTION jwt.pgvpd_protect_acl(target regclass, ways jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    way jsonb;
    translated jsonb := '[]';
BEGIN
    IF jsonb_typeof(ways) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'the paths must be a list' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR way IN SELECT * FROM jsonb_array_elements(ways) LOOP
        PERFORM jwt.check_keys(way, '{column,var,type,when}');
        IF way ->> 'type' NOT IN ('text', 'uuid', 'text_array', 'uuid_array') THEN
            RAISE EXCEPTION 'unknown type "%"', way ->> 'type' USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF jsonb_typeof(way -> 'when') = 'string' THEN
            RAISE EXCEPTION 'SQL in "when" is not taken' USING ERRCODE = 'feature_not_supported',
                HINT = 'Write a condition such as {"var": "app.org_role", "equals": "admin"}.';
        END IF;
        translated := translated || jsonb_strip_nulls(jsonb_build_object(
            'column', way -> 'column',
            'variable', way -> 'var',
            'any', CASE WHEN way ->> 'type' IN ('text_array', 'uuid_array') THEN true END,
            'when', (way -> 'when') - 'var' || jsonb_strip_nulls(jsonb_build_object('variable', way -> 'when' -> 'var'))));
    END LOOP;
    PERFORM jwt.protect_acl(target, translated);
END
$$;

CREATE OR REPLACE FUNCTION jwt.pgvpd_status()
    RETURNS TABLE (table_name text, rls_enabled boolean, rls_forced boolean, policy_count bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT relname::text, relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname;
$$;

-- Ends an installation whose aliases would not be what calls of these names find, or would be others' to change.
CREATE OR REPLACE FUNCTION jwt.refuse_foreign_aliases() RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT * FROM jwt.foreign_aliases() LOOP
        RAISE EXCEPTION '% belongs to role "%" and is no alias of pgvpd''s names', found.object, found.owner
            USING ERRCODE = 'insufficient_privilege',
                HINT = 'Find out what it is for, then drop it. Let nobody else create in schema public: '
                    'REVOKE CREATE ON SCHEMA public FROM PUBLIC.';
    END LOOP;
END
$$;

DO $$
BEGIN
    PERFORM jwt.refuse_foreign_aliases();
END
$$;

-- One call of a function by its full name each, so that nothing depends on the search path and PostgreSQL can put the
-- function in the alias's place.
CREATE OR REPLACE FUNCTION public.current_tenant_id() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context('app.current_tenant_id') $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context(variable text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context(variable) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_array(variable text) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context_array(variable) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_uuid_array(variable text) RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context_uuid_array(variable) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_contains(variable text, value uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context_contains(variable, value) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_text_contains(variable text, value text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT jwt.pgvpd_context_text_contains(variable, value) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_protect(target regclass, column_name name DEFAULT 'tenant_id') RETURNS void
    LANGUAGE sql VOLATILE
    AS $$ SELECT jwt.pgvpd_protect(target, column_name) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_protect_acl(target regclass, ways jsonb) RETURNS void
    LANGUAGE sql VOLATILE
    AS $$ SELECT jwt.pgvpd_protect_acl(target, ways) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_status()
    RETURNS TABLE (table_name text, rls_enabled boolean, rls_forced boolean, policy_count bigint)
    LANGUAGE sql STABLE
    AS $$ SELECT * FROM jwt.pgvpd_status() $$;

-- Once more: others may have created something meanwhile.
DO $$
DECLARE
    found record;
BEGIN
    PERFORM jwt.refuse_foreign();
    PERFORM jwt.refuse_foreign_aliases();
    FOR found IN SELECT * FROM jwt.creators('public') LOOP
        RAISE WARNING '% may create in schema public what calls of pgvpd''s names find first', found.role
            USING HINT = found.remedy || ';';
    END LOOP;
END
$$;
