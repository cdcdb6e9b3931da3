-- What stands between a session and rows that are not its own, and what does not.

-- Who is not held by row-level security at all.
CREATE OR REPLACE FUNCTION jwt.is_above_policies(role oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$ SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE oid = role $$;

-- Whether the expression of a policy is true for every row and everybody, as `true`, `1 = 1` and `jwt.installed()` are: it is
-- made of constants alone.
CREATE OR REPLACE FUNCTION jwt.is_always_true(expression pg_node_tree, target oid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE pg_get_expr(expression, target) WHEN 'true' THEN true WHEN 'false' THEN false WHEN 'jwt.installed()' THEN true
        ELSE NOT EXISTS (SELECT FROM regexp_matches(expression::text, '{([A-Z_]+)', 'g') AS node
            WHERE node[1] NOT IN ('CONST', 'OPEXPR', 'BOOLEXPR', 'NULLTEST', 'BOOLEANTEST', 'RELABELTYPE')) END
$$;

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
            EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid) AS has_policy,
            EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polpermissive) AS has_permissive
        FROM pg_class
        WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND jwt.is_of_users('pg_class', oid, relnamespace)
    ), policies AS (
        -- `asks`: it is restrictive, and not true for every row. `holds`: everybody and whatever they do. `polcmd` is `*` or
        -- one command.
        SELECT tables.oid, polname, polcmd, polroles, asks, asks AND polroles = '{0}' AND polcmd = '*' AS holds,
            polpermissive AND jwt.is_always_true(coalesce(polqual, polwithcheck), polrelid) AS opens
        FROM tables JOIN pg_policy ON polrelid = tables.oid, LATERAL (
            SELECT NOT polpermissive AND NOT jwt.is_always_true(coalesce(polqual, polwithcheck), polrelid)
                AND NOT jwt.is_always_true(coalesce(polwithcheck, polqual), polrelid) AS asks
        ) AS asking
        WHERE relrowsecurity
    ), children AS (
        -- What can be read without the table that it is part of.
        SELECT inhparent AS parent, inhrelid AS oid FROM pg_inherits
        UNION
        SELECT children.parent, inhrelid FROM children JOIN pg_inherits ON inhparent = children.oid
    ), parts AS (
        SELECT pg_class.oid, pg_class.oid::regclass::text AS name, parent.name AS parent, parent.relowner AS parent_owner,
            pg_class.relowner, relkind,
            EXISTS (SELECT FROM aclexplode(relacl) WHERE grantee <> pg_class.relowner)
                OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attacl IS NOT NULL) AS is_shared,
            EXISTS (SELECT FROM policies WHERE policies.oid = pg_class.oid AND holds) AS is_protected
        FROM tables parent JOIN children ON children.parent = parent.oid JOIN pg_class ON pg_class.oid = children.oid
        WHERE EXISTS (SELECT FROM policies WHERE policies.oid = parent.oid AND holds)
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
        SELECT 'warning', 'table', name, 'has no row-level security' FROM tables
        WHERE NOT relrowsecurity AND NOT has_policy AND oid NOT IN (SELECT oid FROM parts)
        UNION ALL
        SELECT 'danger', 'table', name, 'has policies, and row-level security is switched off' FROM tables
        WHERE NOT relrowsecurity AND has_policy
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
        -- Also where somebody made the restrictive policy hold nobody, or wrote `USING (true)` before it went.
        SELECT CASE polcmd WHEN '*' THEN 'danger' ELSE 'warning' END, 'table', name,
            format('is open to %s%s: policy %I lets every row through, and none restricts it',
                CASE WHEN 0 = ANY (polroles) THEN 'everyone' ELSE (SELECT string_agg(quote_ident(pg_get_userbyid(role)), ', ')
                    FROM unnest(polroles) AS role) END,
                CASE polcmd WHEN '*' THEN '' WHEN 'r' THEN ' for SELECT' WHEN 'a' THEN ' for INSERT' WHEN 'w' THEN ' for UPDATE'
                    ELSE ' for DELETE' END, polname)
        FROM tables JOIN policies USING (oid)
        WHERE opens AND NOT coalesce((SELECT bool_or(other.polcmd IN ('*', policies.polcmd)) OR count(DISTINCT other.polcmd) = 4
            FROM policies other WHERE other.oid = policies.oid AND other.asks
                AND (other.polroles = '{0}' OR policies.polroles <@ other.polroles)), false)
        UNION ALL
        SELECT 'danger', 'table', name, format('policy %I does not hold everybody, or asks nothing', polname)
        FROM tables JOIN policies USING (oid) WHERE polname IN ('jwt_protect', 'jwt_protect_acl') AND NOT holds
        UNION ALL
        SELECT CASE WHEN is_shared THEN 'danger' ELSE 'warning' END, 'table', name,
            format('is a partition or child of the protected table %s and is not protected: ', parent)
                || CASE relkind WHEN 'f' THEN 'foreign tables cannot be' ELSE 'protect that table again' END
        FROM parts WHERE NOT is_protected
        UNION ALL
        SELECT 'warning', 'table', name,
            format('belongs to %I, who can switch off the protection that it has from %s', pg_get_userbyid(relowner), parent)
        FROM parts WHERE is_protected AND relowner <> parent_owner AND NOT jwt.is_above_policies(relowner)
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
        SELECT 'warning', 'role', quote_ident(member.rolname),
            format('can become %s, above row-level security', string_agg(quote_ident(above.rolname), ', ' ORDER BY above.rolname))
        FROM pg_roles member JOIN pg_roles above ON pg_has_role(member.oid, above.oid, 'MEMBER')
        WHERE NOT jwt.is_above_policies(member.oid) AND jwt.is_above_policies(above.oid) GROUP BY member.rolname
        UNION ALL
        SELECT 'warning', 'role', quote_ident(rolname), 'has CREATEROLE: before PostgreSQL 16 it can become any role but superusers'
        FROM pg_roles WHERE rolcreaterole AND NOT rolsuper AND current_setting('server_version_num')::integer < 160000
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
        SELECT key.severity, 'key', 'jwt.keys', key.finding FROM jwt.key_findings() AS key
        UNION ALL
        SELECT 'danger', 'installation', foreigner.object, format('belongs to %I and not to the owner of schema jwt', owner)
        FROM jwt.foreign_objects() AS foreigner
        UNION ALL
        SELECT 'danger', 'installation', 'jwt', format('is a schema in which %s may create: %s', role, remedy)
        FROM jwt.creators('jwt')
        UNION ALL
        -- Where pgvpd's names are installed.
        SELECT 'danger', 'installation', alias.object, format('is no alias of pgvpd''s names, and belongs to %I', owner)
        FROM jwt.foreign_aliases() AS alias WHERE to_regprocedure('jwt.pgvpd_status()') IS NOT NULL
        UNION ALL
        SELECT 'warning', 'installation', 'public',
            format('is a schema in which %s may create what calls of pgvpd''s names find first: %s', role, remedy)
        FROM jwt.creators('public') WHERE to_regprocedure('jwt.pgvpd_status()') IS NOT NULL
    )
    SELECT * FROM findings
    ORDER BY array_position('{danger,warning,note}', severity), kind, object, finding;
$$;

-- Once more: others may have created something meanwhile.
DO $$
BEGIN
    PERFORM jwt.refuse_foreign();
END
$$;
