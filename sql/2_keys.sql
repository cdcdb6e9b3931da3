-- The keys that proofs are made with. All of this is for the owner of schema jwt alone, and runs with the caller's rights.

-- Takes a key that the gateway signs with: `[jwt.proof] key_id` and `key`. Keys work side by side until one is retired.
CREATE OR REPLACE FUNCTION jwt.add_key(id text, secret text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- RFC 2104 section 2: a key longer than a block is hashed first, a shorter one is filled with zeros.
    short bytea := CASE WHEN octet_length(convert_to(secret, 'UTF8')) > 64
        THEN sha256(convert_to(secret, 'UTF8')) ELSE convert_to(secret, 'UTF8') END;
    block bytea := short || decode(repeat('00', 64 - octet_length(short)), 'hex');
    inner_pad bytea := block;
    outer_pad bytea := block;
BEGIN
    IF octet_length(convert_to(secret, 'UTF8')) < 32 THEN
        RAISE EXCEPTION 'the key is shorter than 32 bytes' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR place IN 0..63 LOOP
        inner_pad := set_byte(inner_pad, place, get_byte(block, place) # 54);
        outer_pad := set_byte(outer_pad, place, get_byte(block, place) # 92);
    END LOOP;
    INSERT INTO jwt.keys (id, inner_pad, outer_pad) VALUES (add_key.id, inner_pad, outer_pad);
END
$$;

-- Makes a key and gives it to the caller, once. Unlike with `add_key`, it is in no statement that a log could hold.
CREATE OR REPLACE FUNCTION jwt.create_key(id text) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    -- Three random UUIDs hold 366 random bits.
    secret text := encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
        || uuid_send(gen_random_uuid())), 'hex');
BEGIN
    PERFORM jwt.add_key(id, secret);
    RETURN secret;
END
$$;

-- From now on no proof made with this key counts. Its id cannot be used again.
CREATE OR REPLACE FUNCTION jwt.retire_key(id text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE jwt.keys SET inner_pad = NULL, outer_pad = NULL, retired_at = now()
        WHERE keys.id = retire_key.id AND retired_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no key "%" in use', id USING ERRCODE = 'undefined_object';
    END IF;
END
$$;

-- Which claim `jwt.tenant()` gives: a name, or a path with dots. Kept as a function, which costs nothing to read.
CREATE OR REPLACE FUNCTION jwt.set_tenant_claim(claim text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION jwt.tenant_claim() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
        format('SELECT %L::pg_catalog.text', claim));
END
$$;

-- What the owner has chosen stays.
DO $$
BEGIN
    IF to_regprocedure('jwt.tenant_claim()') IS NULL THEN
        PERFORM jwt.set_tenant_claim('tenant_id');
    END IF;
END
$$;

-- From PUBLIC, and from whoever default privileges or a grant have given them to.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT pg_proc.oid::regprocedure AS function,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
        FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
        WHERE pronamespace = 'jwt'::regnamespace AND grantee <> proowner
            AND proname IN ('add_key', 'create_key', 'retire_key', 'set_tenant_claim')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', granted.function, granted.role);
    END LOOP;
END
$$;
