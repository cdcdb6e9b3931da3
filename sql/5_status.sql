-- What stands between a session and rows that are not its own, and what does not.

-- Who is not held by row-level security at all.
CREATE OR REPLACE FUNCTION jwt.is_above_policies(role oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE oid = role $$;

-- Tables, views and functions that are not PostgreSQL's, an extension's or this schema's.
CREATE OR REPLACE FUNCTION jwt.is_of_users(class regclass, object oid, namespace oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT nspname NOT IN ('pg_catalog', 'information_schema', 'jwt') AND nspname NOT LIKE 'pg/_toast%' ESCAPE '/'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = object AND deptype = 'e')
    FROM pg_namespace WHERE oid = namespace;
$$;

-- One row for each finding: `danger` is an open door, `warning` is one for somebody, `note` is worth knowing.
CREATE OR REPLACE FUNCTION jwt.status()
    RETURNS TABLE (severity text, kind text, object text, finding text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH RECURSIVE tables AS (
        SELECT oid, oid::regclass::text AS name, relowner, relrowsecurity, relforcerowsecurity,
            coalesce(relacl, acldefault('r', relowner)) AS acl,
            (SELECT array_agg(polname) FROM pg_policy WHERE polrelid = pg_class.oid) AS policies,
            EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive) AS has_permissive
        FROM pg_class
        WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND jwt.is_of_users('pg_class', oid, relnamespace)
    ), readers AS (
        -- Views and materialized views, with the protected tables that they reach, through other views as well.
        SELECT ev_class AS view, refobjid AS relation FROM pg_rewrite
            JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid AND refclassid = 'pg_class'::regclass
        WHERE refobjid <> ev_class
        UNION
        SELECT ev_class, readers.relation FROM pg_rewrite
            JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid AND refclassid = 'pg_class'::regclass
            JOIN readers ON readers.view = refobjid
        WHERE refobjid <> ev_class
    ), views AS (
        SELECT oid, oid::regclass::text AS name, relkind, relowner,
            coalesce((SELECT option_value::boolean FROM pg_options_to_table(reloptions)
                WHERE option_name = 'security_invoker'), false) AS is_invoker
        FROM pg_class
        WHERE relkind IN ('v', 'm') AND jwt.is_of_users('pg_class', oid, relnamespace)
            AND oid IN (SELECT view FROM readers JOIN tables ON tables.oid = relation AND relrowsecurity)
    ), findings (severity, kind, object, finding) AS (
        SELECT 'warning', 'table', name, 'has no row-level security' FROM tables WHERE NOT relrowsecurity
        UNION ALL
        SELECT 'warning', 'table', name,
            format('is open to its owner %I: row-level security is not forced', pg_get_userbyid(relowner))
        FROM tables WHERE relrowsecurity AND NOT relforcerowsecurity
        UNION ALL
        SELECT 'warning', 'table', name,
            format('is open to its owner %I, who is above row-level security', pg_get_userbyid(relowner))
        FROM tables WHERE relforcerowsecurity AND jwt.is_above_policies(relowner)
        UNION ALL
        SELECT 'note', 'table', name, 'is closed: it has no permissive policy'
        FROM tables WHERE relrowsecurity AND NOT has_permissive
        UNION ALL
        SELECT 'danger', 'table', name, 'is open to everyone: policy jwt_allow is alone'
        FROM tables WHERE 'jwt_allow' = ANY (policies) AND NOT policies && '{jwt_protect,jwt_protect_acl}'
        UNION ALL
        SELECT 'warning', 'table', name, format('can be emptied by %s: TRUNCATE is above row-level security',
            string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, ', ' ORDER BY grantee))
        FROM tables, aclexplode(acl)
        WHERE relrowsecurity AND privilege_type = 'TRUNCATE' AND grantee <> relowner
        GROUP BY tables.oid, name
        UNION ALL
        SELECT 'warning', 'role', quote_ident(rolname), CASE WHEN rolsuper THEN 'is a superuser' ELSE 'has BYPASSRLS' END
        FROM pg_roles WHERE rolsuper OR rolbypassrls
        UNION ALL
        SELECT CASE WHEN jwt.is_above_policies(relowner) THEN 'danger' ELSE 'note' END, 'view', name,
            format('reads protected tables as its owner %I', pg_get_userbyid(relowner))
                || CASE WHEN jwt.is_above_policies(relowner) THEN ', who is above row-level security' ELSE '' END
        FROM views WHERE relkind = 'v' AND NOT is_invoker
        UNION ALL
        SELECT 'danger', 'view', name, 'holds a copy of rows of protected tables, without row-level security'
        FROM views WHERE relkind = 'm'
        UNION ALL
        SELECT CASE WHEN jwt.is_above_policies(proowner) THEN 'danger' ELSE 'note' END, 'function', oid::regprocedure::text,
            format('runs as its owner %I', pg_get_userbyid(proowner))
                || CASE WHEN jwt.is_above_policies(proowner) THEN ', who is above row-level security' ELSE '' END
        FROM pg_proc WHERE prosecdef AND jwt.is_of_users('pg_proc', oid, pronamespace)
        UNION ALL
        SELECT 'danger', 'key', 'jwt.keys', format('is readable by %s',
            string_agg(DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, ', '))
        FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass('jwt.keys') AND grantee <> relowner
        HAVING count(*) > 0
    )
    SELECT * FROM findings
    ORDER BY array_position('{danger,warning,note}', severity), kind, object, finding;
$$;
