-- Whose schema jwt and its aliases are, and who has the keys: what `jwt.status` says of the installation itself.

-- What stands in schema public under pgvpd's names and is not one of the aliases, or belongs to another role. A function of
-- other argument types is found first by some calls, and `name('x')` is a cast where a type has that name.
CREATE OR REPLACE FUNCTION jwt.foreign_aliases() RETURNS TABLE (object text, owner name)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH aliases (signature) AS (
        VALUES ('current_tenant_id()'), ('pgvpd_context(text)'), ('pgvpd_context_array(text)'),
            ('pgvpd_context_uuid_array(text)'), ('pgvpd_context_contains(text,uuid)'),
            ('pgvpd_context_text_contains(text,text)'), ('pgvpd_protect(regclass,name)'),
            ('pgvpd_protect_acl(regclass,jsonb)'), ('pgvpd_status()')
    ), names AS (
        SELECT split_part(signature, '(', 1) AS name, to_regprocedure('public.' || signature) AS function FROM aliases
    )
    SELECT pg_describe_object('pg_proc'::regclass, pg_proc.oid, 0), pg_get_userbyid(proowner)
    FROM names JOIN pg_proc ON proname = name JOIN pg_namespace space ON space.oid = pronamespace
    WHERE nspname = 'public' AND (pg_proc.oid IS DISTINCT FROM function OR prokind <> 'f'
        OR proowner <> (SELECT nspowner FROM pg_namespace WHERE nspname = 'jwt'))
    UNION ALL
    SELECT pg_describe_object('pg_type'::regclass, pg_type.oid, 0), pg_get_userbyid(typowner)
    FROM names JOIN pg_type ON typname = name JOIN pg_namespace space ON space.oid = typnamespace
    WHERE nspname = 'public';
$$;

-- Who else may put functions into a schema, or take them out of it, with the statement that ends it.
CREATE OR REPLACE FUNCTION jwt.creators(namespace name) RETURNS TABLE (role text, remedy text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH schema AS (
        SELECT nspowner AS owner, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl,
            (SELECT nspowner FROM pg_namespace WHERE nspname = 'jwt') AS keeper
        FROM pg_namespace WHERE nspname = namespace
    ), roles AS (
        -- Whoever owns the database is `pg_database_owner`.
        SELECT keeper, owner, CASE pg_get_userbyid((acl).grantee) WHEN 'pg_database_owner'
            THEN (SELECT datdba FROM pg_database WHERE datname = current_database()) ELSE (acl).grantee END AS creator,
            (acl).grantee = owner AS is_owner
        FROM schema WHERE (acl).privilege_type = 'CREATE'
    )
    SELECT name, CASE WHEN is_owner THEN format('ALTER SCHEMA %I OWNER TO %I', namespace, pg_get_userbyid(keeper))
        ELSE format('REVOKE CREATE ON SCHEMA %I FROM %s', namespace, name) END
    FROM (
        SELECT DISTINCT CASE creator WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(creator)) END AS name, is_owner, keeper
        FROM roles
        WHERE creator <> keeper AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = creator AND rolsuper)
    ) AS others;
$$;

-- Who can read or change the keys that proofs are made with, and what would.
CREATE OR REPLACE FUNCTION jwt.key_findings() RETURNS TABLE (severity text, finding text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    WITH keys AS (
        SELECT oid, relowner, relacl FROM pg_class WHERE oid = to_regclass('jwt.keys')
    ), granted AS (
        SELECT NULL::name AS column_name, relowner, aclexplode(relacl) AS acl FROM keys
        UNION ALL
        SELECT attname, relowner, aclexplode(attacl) FROM keys JOIN pg_attribute ON attrelid = keys.oid
    ), rights AS (
        SELECT column_name, (acl).privilege_type AS privilege,
            CASE (acl).grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid((acl).grantee)) END AS role
        FROM granted WHERE (acl).grantee <> relowner
    ), predefined (name, finding) AS (
        VALUES ('pg_read_all_data', 'is readable by %s, through pg_read_all_data'),
            ('pg_write_all_data', 'can be changed by %s, through pg_write_all_data'),
            ('pg_read_server_files', 'is readable by %s in the server''s files, through pg_read_server_files'),
            ('pg_write_server_files', 'can be changed by %s in the server''s files, through pg_write_server_files'),
            ('pg_execute_server_program', 'is readable by %s with programs, through pg_execute_server_program')
    ), people AS (
        -- Membership in any form: whoever has it without SET or INHERIT may have ADMIN, and give itself the rest.
        SELECT oid, quote_ident(rolname) AS name, rolreplication FROM pg_roles
        WHERE NOT rolsuper AND oid >= 16384 AND oid <> (SELECT relowner FROM keys)
    )
    SELECT 'danger', format('is readable by %s', string_agg(DISTINCT role, ', '))
    FROM rights WHERE column_name IS NULL AND privilege = 'SELECT' HAVING count(*) > 0
    UNION ALL
    SELECT 'danger', format('is readable in column %s by %s', quote_ident(column_name), string_agg(DISTINCT role, ', '))
    FROM rights WHERE column_name IS NOT NULL AND privilege = 'SELECT' GROUP BY column_name
    UNION ALL
    SELECT 'danger', format('can be changed by %s, who may %s', role,
        string_agg(DISTINCT privilege || coalesce(' (' || quote_ident(column_name) || ')', ''), ', '))
    FROM rights WHERE privilege <> 'SELECT' GROUP BY role
    UNION ALL
    SELECT 'danger', format(predefined.finding, string_agg(people.name, ', ' ORDER BY people.name))
    FROM predefined JOIN pg_roles ON rolname = predefined.name JOIN people ON pg_has_role(people.oid, pg_roles.oid, 'MEMBER')
    GROUP BY predefined.name, predefined.finding
    UNION ALL
    SELECT 'danger', format('is readable by %s, through the role of its owner %I',
        string_agg(people.name, ', ' ORDER BY people.name), pg_get_userbyid(relowner))
    FROM keys JOIN people ON pg_has_role(people.oid, relowner, 'MEMBER') GROUP BY relowner
    UNION ALL
    SELECT 'danger', format('is sent to subscribers of publication %I', pubname)
    FROM pg_publication_tables WHERE schemaname = 'jwt' AND tablename = 'keys'
    UNION ALL
    SELECT 'danger', format('is read by %s', ev_class::regclass)
    FROM keys JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = keys.oid AND classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite ON pg_rewrite.oid = objid
    WHERE ev_class <> keys.oid GROUP BY ev_class
    UNION ALL
    SELECT 'danger', format('has something that these scripts did not make: %s', attached)
    FROM jwt.attached_to_keys() AS attached
    UNION ALL
    SELECT 'warning', format('can be copied by %s, with REPLICATION', string_agg(name, ', ' ORDER BY name))
    FROM people WHERE rolreplication HAVING count(*) > 0;
$$;
