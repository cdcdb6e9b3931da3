-- Row-level security by claim or variable. These functions write SQL from names and values only; they run with the rights of
-- their caller, who must own the table.
--
-- A protected table has one or both of the restrictive policies `jwt_protect` and `jwt_protect_acl`. Restrictive, so that
-- no other policy of the table lets more rows through. PostgreSQL shows nothing without a permissive policy, so a table that
-- has none of its own also gets `jwt_allow`, which depends on this schema: when the schema is dropped, tables close.

CREATE OR REPLACE FUNCTION jwt.installed() RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT true $$;

-- The SQL for a value: a claim, else a variable, else the tenant. As a list: of a claim's elements, or of a variable's parts
-- between commas.
CREATE OR REPLACE FUNCTION jwt.source(claim text, variable text, is_list boolean) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    value text := format('nullif(current_setting(%L, true), %L)', variable, '');
BEGIN
    IF claim IS NOT NULL AND variable IS NOT NULL THEN
        RAISE EXCEPTION 'claim % and variable % cannot both be the source', quote_ident(claim), quote_ident(variable)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN CASE
        WHEN claim IS NOT NULL THEN format(CASE WHEN is_list THEN 'jwt.claim_array(%L)' ELSE 'jwt.claim(%L)' END, claim)
        WHEN variable IS NOT NULL THEN CASE WHEN is_list THEN format('string_to_array(%s, %L)', value, ',') ELSE value END
        WHEN is_list THEN 'ARRAY[jwt.tenant()]'
        ELSE 'jwt.tenant()' END;
END
$$;

-- The SQL that is true where a column holds the value, or one of the values: of whatever type the column is.
--
-- The value is cast to the column's type without its length: `varchar(4)` would make 'acme' of 'acme-corp', which may be
-- another tenant. `name` and `"char"` cut by themselves, so their columns are compared as text.
CREATE OR REPLACE FUNCTION jwt.condition(target regclass, column_name name, source text, is_list boolean) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    col text := quote_ident(column_name);
    type oid := (SELECT atttypid FROM pg_attribute
        WHERE attrelid = target AND attname = column_name AND attnum > 0 AND NOT attisdropped);
    is_array boolean := false;
    base record;
    word text;
    equal text;
BEGIN
    IF type IS NULL THEN
        RAISE EXCEPTION 'column "%" of relation "%" does not exist', column_name, target::text
            USING ERRCODE = 'undefined_column';
    END IF;
    LOOP
        SELECT * INTO base FROM pg_type WHERE oid = type;
        IF base.typtype = 'd' THEN
            type := base.typbasetype;
        ELSIF base.typcategory = 'A' AND base.typelem <> 0 AND NOT is_array THEN
            is_array := true;
            type := base.typelem;
        ELSE
            EXIT;
        END IF;
    END LOOP;
    IF type IN ('name'::regtype, '"char"'::regtype) THEN
        col := format(CASE WHEN is_array THEN '%s::text[]' ELSE '%s::text' END, col);
        type := 'text'::regtype;
    END IF;
    word := format_type(type, -1);
    -- The operator of types that come with extensions is where the extension is.
    equal := coalesce((SELECT format('OPERATOR(%I.%s)', nspname, oprname)
        FROM pg_opclass JOIN pg_amop ON amopfamily = opcfamily AND amoplefttype = opcintype AND amoprighttype = opcintype
            JOIN pg_operator ON pg_operator.oid = amopopr JOIN pg_namespace ON pg_namespace.oid = oprnamespace
        WHERE opcintype = type AND opcdefault AND amopstrategy = 3
            AND opcmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')), 'OPERATOR(pg_catalog.=)');
    RETURN CASE
        WHEN is_array AND is_list THEN format('%s && (SELECT (%s)::%s[])', col, source, word)
        WHEN is_array THEN format('(SELECT (%s)::%s) %s ANY (%s)', source, word, equal, col)
        WHEN is_list THEN format('%s %s ANY ((SELECT (%s)::%s[])::%s[])', col, equal, source, word, word)
        ELSE format('%s %s (SELECT (%s)::%s)', col, equal, source, word) END;
END
$$;

-- A table with everything that inherits from it: rows can be read from a partition directly.
CREATE OR REPLACE FUNCTION jwt.descendants(target regclass) RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE family AS (
        SELECT target::oid AS relid
        UNION
        SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = relid
    )
    SELECT relid::regclass FROM family;
$$;

-- Those of them that can have policies: foreign tables cannot.
CREATE OR REPLACE FUNCTION jwt.family(target regclass) RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT member FROM jwt.descendants(target) AS member JOIN pg_class ON oid = member WHERE relkind IN ('r', 'p') $$;

-- The name of a table as it can be written anywhere.
CREATE OR REPLACE FUNCTION jwt.full_name(target regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT format('%I.%I', nspname, relname) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
          WHERE pg_class.oid = target $$;

-- Gives a table and its partitions a restrictive policy, in place of one with the same name.
CREATE OR REPLACE FUNCTION jwt.set_policy(target regclass, policy name, condition text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    member regclass;
    member_name text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = target AND relkind IN ('r', 'p')) THEN
        RAISE EXCEPTION '"%" is not a table', target::text USING ERRCODE = 'wrong_object_type';
    END IF;
    FOR member IN SELECT * FROM jwt.family(target) LOOP
        member_name := jwt.full_name(member);
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', member_name);
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', member_name);
        IF EXISTS (SELECT FROM pg_policy WHERE polrelid = member AND polname = policy) THEN
            EXECUTE format('DROP POLICY %I ON %s', policy, member_name);
        END IF;
        EXECUTE format('CREATE POLICY %I ON %s AS RESTRICTIVE USING (%s) WITH CHECK (%s)',
            policy, member_name, condition, condition);
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = member AND polpermissive) THEN
            EXECUTE format('CREATE POLICY jwt_allow ON %s USING (jwt.installed()) WITH CHECK (jwt.installed())', member_name);
        END IF;
    END LOOP;
    FOR member IN SELECT descendant FROM jwt.descendants(target) AS descendant JOIN pg_class ON oid = descendant
        WHERE relkind = 'f' LOOP
        RAISE WARNING 'foreign table % has no row-level security when it is read without %', jwt.full_name(member),
            jwt.full_name(target)
            USING HINT = format('Grant nobody rights on it: REVOKE ALL ON %s FROM PUBLIC, and from all others.',
                jwt.full_name(member));
    END LOOP;
END
$$;

-- Lets a session see and write only the rows whose column equals a claim of its token, or a variable of the session:
--     SELECT jwt.protect('orders');                                  -- tenant_id = jwt.tenant()
--     SELECT jwt.protect('orders', 'owner', claim => 'sub');
--     SELECT jwt.protect('orders', 'org', variable => 'app.org');    -- as safe as the variable
-- Where the column is an array, it must contain the value.
CREATE OR REPLACE FUNCTION jwt.protect(
    target regclass, column_name name DEFAULT 'tenant_id', claim text DEFAULT NULL, variable text DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    PERFORM jwt.set_policy(target, 'jwt_protect',
        jwt.condition(target, column_name, jwt.source(claim, variable, false), false));
END
$$;

-- Reports a key that is not among those that are known.
CREATE OR REPLACE FUNCTION jwt.check_keys(object jsonb, known text[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    unknown text := (SELECT key FROM jsonb_object_keys(object) AS key WHERE key <> ALL (known) LIMIT 1);
BEGIN
    IF unknown IS NOT NULL THEN
        RAISE EXCEPTION 'unknown key "%"', unknown
            USING ERRCODE = 'invalid_parameter_value', HINT = 'There are ' || array_to_string(known, ', ') || '.';
    END IF;
END
$$;

-- The SQL of one way to be allowed.
CREATE OR REPLACE FUNCTION jwt.way(target regclass, way jsonb) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    only_when jsonb := way -> 'when';
    parts text[] := '{}';
BEGIN
    IF jsonb_typeof(way) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'a way must be an object' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM jwt.check_keys(way, '{column,claim,variable,any,when}');
    IF way ? 'column' THEN
        parts := parts || jwt.condition(target, (way ->> 'column')::name,
            jwt.source(way ->> 'claim', way ->> 'variable', coalesce((way ->> 'any')::boolean, false)),
            coalesce((way ->> 'any')::boolean, false));
    ELSIF way ?| '{claim,variable,any}' OR NOT way ? 'when' THEN
        RAISE EXCEPTION 'a way needs a "column", or only "when"' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF way ? 'when' THEN
        IF jsonb_typeof(only_when) <> 'object' OR (only_when ? 'equals') = (only_when ? 'contains') THEN
            RAISE EXCEPTION '"when" must be an object with either "equals" or "contains"'
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Such as {"claim": "role", "equals": "admin"}.';
        END IF;
        PERFORM jwt.check_keys(only_when, '{claim,variable,equals,contains}');
        parts := parts || CASE WHEN only_when ? 'equals'
            THEN format('(SELECT %s = %L)',
                jwt.source(only_when ->> 'claim', only_when ->> 'variable', false), only_when ->> 'equals')
            ELSE format('(SELECT %L = ANY (%s))', only_when ->> 'contains',
                jwt.source(only_when ->> 'claim', only_when ->> 'variable', true)) END;
    END IF;
    RETURN '(' || array_to_string(parts, ' AND ') || ')';
END
$$;

-- Lets a session see and write only the rows that one of several ways opens to it:
--     SELECT jwt.protect_acl('documents', '[
--         {"column": "owner", "claim": "sub"},
--         {"column": "team_id", "claim": "teams", "any": true},
--         {"column": "org_id", "claim": "org", "when": {"claim": "roles", "contains": "org-admin"}},
--         {"when": {"variable": "app.support", "equals": "on"}}]');
-- `any`: one of the claim's elements, or of the variable's parts between commas. Beside `jwt.protect`, both must hold.
CREATE OR REPLACE FUNCTION jwt.protect_acl(target regclass, ways jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF jsonb_typeof(ways) IS DISTINCT FROM 'array' OR ways = '[]' THEN
        RAISE EXCEPTION 'the ways must be a list with at least one of them' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM jwt.set_policy(target, 'jwt_protect_acl',
        (SELECT string_agg(jwt.way(target, way), ' OR ') FROM jsonb_array_elements(ways) AS way));
END
$$;

-- Takes away what `protect` and `protect_acl` made. Where other policies are left, row-level security stays on.
CREATE OR REPLACE FUNCTION jwt.unprotect(target regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    member regclass;
    policy name;
BEGIN
    FOR member IN SELECT * FROM jwt.family(target) LOOP
        FOR policy IN SELECT polname FROM pg_policy
            WHERE polrelid = member AND polname IN ('jwt_protect', 'jwt_protect_acl', 'jwt_allow') LOOP
            EXECUTE format('DROP POLICY %I ON %s', policy, jwt.full_name(member));
        END LOOP;
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = member) THEN
            EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', jwt.full_name(member));
            EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', jwt.full_name(member));
        END IF;
    END LOOP;
END
$$;
