//! What PostgreSQL's own functions do that a query's shape does not show, by name.
//!
//! A name counts whatever its schema: `pg_catalog.nextval`, `nextval`, and a lookalike in somebody's schema are the
//! same here. Only for reads the schema matters: functions that PostgreSQL does not bring itself may write.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::class::Refusal;
use super::refusal;

/// The functions of PostgreSQL 15 and 18, one name a line (`SELECT proname FROM pg_proc` in `pg_catalog`).
static BUILT_INS: LazyLock<HashSet<&str>> = LazyLock::new(|| include_str!("built_ins.txt").lines().collect());

/// Functions of PostgreSQL's that leave something on their server or run other code, one name a line. What they leave: a role, a
/// setting, an advisory lock, a temporary slot, a backup (9.28). What they run: SQL from a text or of a view (9.15.3, 12.4), checks of
/// domains by a type's name (9.27) or number, expressions of indexes (9.28.8), output plug-ins (9.28.6).
pub const LEAVING_FUNCTIONS: &str = include_str!("leaving.txt");

/// All others of PostgreSQL 15, 16 and 18 that are not declared immutable: judged one by one to leave nothing and to run nothing
/// else. What ends with its transaction is not left: descriptors of large objects (35.3), `pg_advisory_xact_lock`, `pg_notify`. The last
/// values of sequences (`lastval`) count as nothing, or every INSERT into a table with a serial column would count.
/// `test_own_functions.py` compares both lists with the catalogue of every PostgreSQL on the machine.
pub const HARMLESS_FUNCTIONS: &str = include_str!("harmless.txt");

static LEAVING: LazyLock<HashSet<&str>> = LazyLock::new(|| LEAVING_FUNCTIONS.lines().collect());

/// `set_config` changes any variable by name, so it is judged by its arguments (PostgreSQL, 9.28.1).
pub const SET_CONFIG: &str = "set_config";

/// `ts_rewrite` runs SQL in its form with two arguments, not in the one with three (PostgreSQL, 12.4.2.1).
pub(super) const TS_REWRITE: &str = "ts_rewrite";

/// Functions that run SQL given as text: the guard cannot see what that text would do.
///
/// Core: 9.15.3 (XML) and 12.4.4 (`cursor_to_xml`, `table_to_xml` and their kin take names, not SQL). The others come
/// with extensions: tablefunc, xml2, refint (from the arguments of a trigger), Citus, TimescaleDB, pglogical, Spock,
/// pg_background, pg_ivm, aws_s3.
const RUNS_SQL: [&str; 18] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "ts_stat",
    "connectby",
    "xpath_table",
    "check_primary_key",
    "check_foreign_key",
    "distributed_exec",
    "master_run_on_worker",
    "master_modify_multiple_shards",
    "worker_create_or_replace_object",
    "worker_partition_query_result",
    "replicate_ddl",
    "replicate_ddl_command",
    "pg_background_launch",
    "create_immv",
    "query_export_to_s3",
];

/// Families of which every member does; `pgr_` is pgRouting's.
const RUNS_SQL_PREFIXES: [&str; 5] = ["dblink", "crosstab", "run_command_on_", "worker_apply_", "pgr_"];

/// Whether a function runs SQL that it is given as text.
pub(super) fn runs_sql(name: &str) -> bool {
    RUNS_SQL.contains(&name) || RUNS_SQL_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Functions that signal a session by the id of its process (PostgreSQL, 9.28.2). A session may signal itself.
const SIGNALS: [&str; 5] = [
    "pg_cancel_backend",
    "pg_terminate_backend",
    "pg_log_backend_memory_contexts",
    "pg_get_process_memory_contexts",
    "pg_log_query_plan",
];

/// Functions that reach all sessions of a server, or its state: those of 9.28 that an account can be granted, and those of
/// pg_stat_statements and adminpack.
const REACHES_OTHERS: [&str; 16] = [
    "pg_promote",
    "pg_reload_conf",
    "pg_rotate_logfile",
    "pg_rotate_logfile_old",
    "pg_logfile_rotate",
    "pg_switch_wal",
    "pg_create_restore_point",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_start_backup",
    "pg_stop_backup",
    "pg_wal_replay_pause",
    "pg_wal_replay_resume",
    "pg_drop_replication_slot",
    "pg_replication_slot_advance",
    "pg_sync_replication_slots",
];

/// Families of which every member does.
const REACHES_OTHERS_PREFIXES: [&str; 3] = ["pg_stat_reset", "pg_stat_statements_reset", "pg_replication_origin_"];

/// Whether a function signals a session by the id of its process.
pub(super) fn signals(name: &str) -> bool {
    SIGNALS.contains(&name)
}

/// Whether a function reaches other sessions, or what is common to all of them.
pub(super) fn reaches_others(name: &str) -> bool {
    signals(name)
        || REACHES_OTHERS.contains(&name)
        || REACHES_OTHERS_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The id of the session's own process.
pub(super) const OWN_PROCESS: &str = "pg_backend_pid";

/// Whether a text in lower case holds, anywhere, a name that the guard would look at.
pub(super) fn mentions_guarded_name(text: &str) -> bool {
    let others = [SET_CONFIG, TS_REWRITE, "pg_settings"];
    let families = RUNS_SQL_PREFIXES.iter().chain(&REACHES_OTHERS_PREFIXES);
    let functions = RUNS_SQL.iter().chain(&SIGNALS).chain(&REACHES_OTHERS);
    others.iter().chain(functions).chain(families).any(|name| text.contains(name))
}

/// Whether a name may appear only where a function is plainly called, with its arguments in view.
pub(super) fn must_be_called_plainly(name: &str) -> bool {
    name == SET_CONFIG || name == TS_REWRITE || runs_sql(name)
}

/// Session-level advisory locks, and what gives them back (PostgreSQL, 9.28.10).
pub(super) fn holds_advisory_lock(name: &str) -> bool {
    matches!(
        name,
        "pg_advisory_lock" | "pg_advisory_lock_shared" | "pg_try_advisory_lock" | "pg_try_advisory_lock_shared"
    )
}

/// Functions that leave session state of a kind that no statement names.
pub(super) fn leaves_unknown_state(name: &str) -> bool {
    name.starts_with("pg_replication_origin_session_")
        || matches!(name, "setseed" | "lo_open" | "lo_creat")
        || runs_sql(name)
}

/// Whether a function comes with PostgreSQL: named without a schema, or with its own.
pub(super) fn is_built_in(schema: &str, name: &str) -> bool {
    (schema == name || schema == "pg_catalog") && BUILT_INS.contains(name)
}

/// Whether a function of PostgreSQL's has this name.
pub fn is_own_function(name: &str) -> bool {
    BUILT_INS.contains(name)
}

/// Whether a function of PostgreSQL's with this name leaves something or runs other code.
pub(super) fn leaves(name: &str) -> bool {
    LEAVING.contains(name)
}

/// The same where no other part of the guard knows what it leaves: settings and advisory locks are followed.
pub(super) fn leaves_unseen(name: &str) -> bool {
    leaves(name) && name != SET_CONFIG && !name.starts_with("pg_advisory_") && !name.starts_with("pg_try_advisory_")
}

/// Whether a function needs the primary: it writes, or it reads what only the primary's session has.
pub(super) fn needs_primary(name: &str) -> bool {
    runs_sql(name)
        || PRIMARY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            // Sequences; `currval` and `lastval` are state of the session that called `nextval` (9.17).
            "nextval" | "setval" | "currval" | "lastval"
            // Settings and notifications.
            | "set_config" | "pg_notify" | "setseed" | "pg_notification_queue_usage"
            // Transaction ids are given out by the primary only (9.27.9).
            | "txid_current" | "pg_current_xact_id" | "txid_status" | "pg_xact_status" | "pg_export_snapshot"
            // Large objects (35.4).
            | "lo_creat" | "lo_create" | "lo_unlink" | "lo_import" | "lo_export" | "lo_from_bytea" | "lo_put"
            | "lo_truncate" | "lo_truncate64" | "lo_open" | "lo_close" | "loread" | "lowrite" | "lo_lseek"
            | "lo_lseek64" | "lo_tell" | "lo_tell64"
            // Server administration (9.28): write-ahead log, replication, backup, statistics, maintenance.
            | "pg_switch_wal" | "pg_current_wal_lsn" | "pg_current_wal_insert_lsn" | "pg_current_wal_flush_lsn"
            | "pg_walfile_name" | "pg_walfile_name_offset" | "pg_backup_start" | "pg_backup_stop" | "pg_start_backup"
            | "pg_stop_backup" | "pg_promote" | "pg_reload_conf" | "pg_rotate_logfile" | "pg_cancel_backend"
            | "pg_terminate_backend" | "pg_log_backend_memory_contexts" | "pg_drop_replication_slot"
            | "pg_replication_slot_advance" | "pg_sync_replication_slots" | "pg_log_standby_snapshot"
            | "pg_import_system_collations" | "pg_nextoid" | "gin_clean_pending_list" | "brin_summarize_new_values"
            | "brin_summarize_range" | "brin_desummarize_range" | "pg_stat_force_next_flush" | "currtid2"
            | "pg_restore_relation_stats" | "pg_restore_attribute_stats" | "pg_clear_relation_stats"
            | "pg_clear_attribute_stats"
            // Extensions.
            | "pg_prewarm" | "autoprewarm_start_worker" | "autoprewarm_dump_now" | "pg_truncate_visibility_map"
            | "create_hypertable" | "add_retention_policy" | "create_distributed_table"
        )
}

/// Families of which every member needs the primary.
const PRIMARY_PREFIXES: [&str; 9] = [
    "pg_advisory",
    "pg_try_advisory",
    "pg_create_",
    "pg_copy_",
    "pg_stat_reset",
    "pg_replication_origin_",
    "pg_logical_",
    "pg_wal_replay_",
    "binary_upgrade_",
];

/// Why a guarded session may not call a function by a FunctionCall message: an object id does not say what it does.
///
/// Allowed are the large-object functions that libpq calls that way, by their fixed object ids (`pg_proc.dat`).
pub fn refused_call(oid: u32) -> Option<&'static Refusal> {
    let allowed = matches!(
        oid,
        715 // lo_create
        | 952..=958 // lo_open, lo_close, loread, lowrite, lo_lseek, lo_creat, lo_tell
        | 964 // lo_unlink
        | 1004 // lo_truncate
        | 3170..=3172 // lo_lseek64, lo_tell64, lo_truncate64
    );
    (!allowed).then_some(&refusal::FUNCTION_CALL)
}
