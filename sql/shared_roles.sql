-- Where several subjects are one role of PostgreSQL, they could cancel and end each other's statements and read their texts,
-- by functions that everybody may call by default. The gateway refuses such calls in what it can read; this takes them away.
-- As a superuser, in every database that such a role may connect to, also in template1 for those to come. The gateway itself
-- needs none of it, nor do cancel requests of drivers.
DO $$
DECLARE
    called regprocedure;
BEGIN
    FOR called IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND p.proname IN ('pg_cancel_backend', 'pg_terminate_backend', 'pg_log_backend_memory_contexts')
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', called);
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_signal_backend', called);
    END LOOP;
    FOR called IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND p.proname IN ('pg_stat_get_activity', 'pg_stat_get_backend_activity')
    LOOP
        EXECUTE pg_catalog.format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', called);
        EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO pg_read_all_stats', called);
    END LOOP;
    -- Who reads the view calls the function.
    REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC;
    GRANT SELECT ON pg_catalog.pg_stat_activity TO pg_read_all_stats;
END
$$;
