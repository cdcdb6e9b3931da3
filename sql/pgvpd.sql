-- The names of pgvpd, for people who move over: optional, run after the other scripts. They are in schema public, where
-- pgvpd had them.
--
-- As in pgvpd these read session variables, which are as safe as the gateway's guard. `jwt.protect` reads claims that the
-- gateway has proven.

SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;

CREATE OR REPLACE FUNCTION public.pgvpd_context(variable text) RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT nullif(current_setting(variable, true), '') $$;

CREATE OR REPLACE FUNCTION public.current_tenant_id() RETURNS text
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT nullif(current_setting('app.current_tenant_id', true), '') $$;

-- Parts between commas. Braces around them, as array literals have, are taken away.
CREATE OR REPLACE FUNCTION public.pgvpd_context_array(variable text) RETURNS text[]
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT string_to_array(nullif(btrim(current_setting(variable, true), '{}'), ''), ',') $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_uuid_array(variable text) RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT public.pgvpd_context_array(variable)::uuid[] $$;

-- False, and not NULL, when the variable is not set.
CREATE OR REPLACE FUNCTION public.pgvpd_context_contains(variable text, value uuid) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(value = ANY (public.pgvpd_context_uuid_array(variable)), false) $$;

CREATE OR REPLACE FUNCTION public.pgvpd_context_text_contains(variable text, value text) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT coalesce(value = ANY (public.pgvpd_context_array(variable)), false) $$;

-- Protects a table by the variable, and lets `app_user` use it where there is such a role.
CREATE OR REPLACE FUNCTION public.pgvpd_protect(target regclass, column_name name DEFAULT 'tenant_id') RETURNS void
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
CREATE OR REPLACE FUNCTION public.pgvpd_protect_acl(target regclass, ways jsonb) RETURNS void
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

CREATE OR REPLACE FUNCTION public.pgvpd_status()
    RETURNS TABLE (table_name text, rls_enabled boolean, rls_forced boolean, policy_count bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT relname::text, relrowsecurity, relforcerowsecurity, (SELECT count(*) FROM pg_policy WHERE polrelid = pg_class.oid)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname;
$$;
