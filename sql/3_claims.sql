-- The claims of the token that this session logged in with, as far as the gateway has proven them.
--
-- The gateway puts its proof into the setting `jwt.proof`. Anyone can set that, so it counts only with a MAC under a key
-- that nobody but the gateway and the owner of these functions has, and only for the role, the database, the server
-- process and the time that it was made for. When anything is off, the answer is NULL, and policies let nothing through.
--
-- All are PARALLEL RESTRICTED: a parallel worker is another process, so it is the leader that verifies. Written as
-- `(SELECT jwt.tenant())` that happens once for each mention in a statement, and workers get the result.

-- When this server process began, in microseconds since 1970: with its number, its name for all time. The owner must be
-- allowed to see it, for PostgreSQL does not show a role that was taken with SET ROLE when the session began.
CREATE OR REPLACE FUNCTION jwt.backend_start() RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (SELECT round(extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_get_activity(pg_backend_pid()));
END
$$;

-- In few and large expressions, because PL/pgSQL prepares each anew in every transaction.
CREATE OR REPLACE FUNCTION jwt.claims() RETURNS jsonb
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    proof text := current_setting('jwt.proof', true);
    payload text;
    proven jsonb;
    start bigint;
BEGIN
    IF proof IS NULL OR octet_length(proof) > 1048576
        OR proof COLLATE "C" !~ '^v1[.][A-Za-z0-9_-]{1,64}[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]{43}$' THEN
        RETURN NULL;
    END IF;
    -- One statement, in which keys and what is computed from them are never constants: `debug_print_plan` shows those to
    -- the session. Digests are compared, so that the time this takes says nothing about the MAC that was expected.
    SELECT (SELECT round(extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_get_activity(pg_backend_pid()))
        INTO start FROM jwt.keys
        WHERE id = split_part(proof, '.', 2) AND retired_at IS NULL
            AND sha256(convert_to(translate(encode(sha256(outer_pad || sha256(inner_pad
                || convert_to(left(proof, -44), 'UTF8'))), 'base64'), '+/=', '-_'), 'UTF8'))
                = sha256(convert_to(right(proof, 43), 'UTF8'));
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    payload := split_part(proof, '.', 3);
    payload := convert_from(decode(
        translate(payload, '-_', '+/') || repeat('=', (4 - length(payload) % 4) % 4), 'base64'), 'UTF8');
    -- PostgreSQL has no text with NUL in it.
    proven := CASE WHEN strpos(payload, E'\\u0000') = 0 THEN payload::jsonb END;
    RETURN CASE WHEN
        -- Inside this function `current_user` is its owner. This is who the statement runs as outside of all functions.
        proven ->> 'role' = CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END
        AND proven ->> 'db' = current_database()
        AND (proven ->> 'pid')::integer = pg_backend_pid()
        AND (proven ->> 'start')::bigint = start
        -- The real time: `now()` stands still for as long as a transaction is open.
        AND (proven ->> 'exp')::bigint > extract(epoch FROM clock_timestamp())
        AND jsonb_typeof(proven -> 'claims') = 'object'
        THEN proven -> 'claims' END;
END
$$;

-- A claim by its exact name, or else by the longest beginning, up to a dot, that names an object, and the rest inside it.
-- The gateway reads claims in the same way.
CREATE OR REPLACE FUNCTION jwt.find(claims jsonb, path text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    part text[];
    inside jsonb;
BEGIN
    IF claims ? path THEN
        RETURN claims -> path;
    END IF;
    part := string_to_array(path, '.');
    FOR names IN REVERSE cardinality(part) - 1 .. 1 LOOP
        inside := claims -> array_to_string(part[:names], '.');
        IF jsonb_typeof(inside) = 'object' THEN
            inside := jwt.find(inside, array_to_string(part[names + 1:], '.'));
            IF inside IS NOT NULL THEN
                RETURN inside;
            END IF;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- One claim as text; lists and objects as JSON.
CREATE OR REPLACE FUNCTION jwt.claim(path text) RETURNS text
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jwt.find(jwt.claims(), path) #>> '{}';
END
$$;

-- One claim as a list: the elements of a list, or the one value. Objects and null are no value.
CREATE OR REPLACE FUNCTION jwt.claim_array(path text) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    claim jsonb := jwt.find(jwt.claims(), path);
BEGIN
    RETURN CASE jsonb_typeof(claim)
        WHEN 'array' THEN ARRAY(SELECT value #>> '{}' FROM jsonb_array_elements(claim) AS value
            WHERE jsonb_typeof(value) NOT IN ('array', 'object', 'null'))
        WHEN 'string' THEN ARRAY[claim #>> '{}']
        WHEN 'number' THEN ARRAY[claim #>> '{}']
        WHEN 'boolean' THEN ARRAY[claim #>> '{}'] END;
END
$$;

-- Whom the token is about.
CREATE OR REPLACE FUNCTION jwt.subject() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN jwt.claims() ->> 'sub';
END
$$;

-- The tenant: the claim that `jwt.set_tenant_claim` named, `tenant_id` until then. An empty one is none.
CREATE OR REPLACE FUNCTION jwt.tenant() RETURNS text
    LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN nullif(jwt.find(jwt.claims(), jwt.tenant_claim()) #>> '{}', '');
END
$$;
