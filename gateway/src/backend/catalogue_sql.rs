//! The question to a database which names lead to code that is not PostgreSQL's own, or to functions of its own that leave
//! something or run other code ([`LEAVING_FUNCTIONS`]).
//!
//! PostgreSQL records what each object is made of (`pg_depend`), but for what it brings itself. So whatever has a
//! dependency on a function with a number that PostgreSQL gives to others' objects, directly or by way of others, may run that function
//! when it is used. The owner of parts (a table of its defaults, policies, triggers and indexes; a type of its operators
//! and casts) uses them as well.
//!
//! Of the functions that PostgreSQL brings, all that are not immutable count, but for those that are known to leave nothing:
//! one that a new version brings counts until somebody has judged it. Where they are used is not recorded, so they are looked for
//! where a catalogue names them, and in the trees of stored expressions, which have them as `:funcid 2078` (also `:opfuncid`).
//! No name or constant in a tree can hide one or make one up: in names, spaces are escaped (`outToken` in PostgreSQL's
//! `outfuncs.c`), and constants are bytes in numbers. No aggregate, operator, cast or view of PostgreSQL's own has
//! such a function behind it, but the view `pg_settings` for those who update it; `test_own_functions.py` holds that for each version.
//!
//! Not looked at: bodies, defaults and parts of functions and aggregates that are not PostgreSQL's own, which all count as they
//! are; row filters of publications, which run in replication alone.
//!
//! Every catalogue here may be read by everybody. Where that was revoked, the look fails, and every name counts.

use std::sync::LazyLock;

use pgdog_jwt_guard::functions::{HARMLESS_FUNCTIONS, LEAVING_FUNCTIONS};

/// Rows of the answer that are read: some 600 are PostgreSQL's own names. All names that PostgreSQL can have are together
/// a third of the largest answer that the gateway reads.
pub(super) const MOST_NAMES: usize = 20_000;

/// The answer's rows: a kind and a name. See [`super::known_names`] for the kinds.
///
/// Names are those of `pg_catalog` for all of the transaction, whatever the session's `search_path` is; with `pg_temp`
/// behind it, which otherwise is searched first for relations (PostgreSQL documentation, "search_path"). It is planned as if it
/// would take long, and does not: nothing is compiled for it.
pub(super) static LOOK: LazyLock<String> = LazyLock::new(|| {
    let array = |names: &str| format!("{{{}}}", names.lines().collect::<Vec<_>>().join(","));
    QUESTION.replace("$leaving", &array(LEAVING_FUNCTIONS)).replace("$harmless", &array(HARMLESS_FUNCTIONS))
});

/// The numbers of those functions of PostgreSQL's are texts, as in the trees. `used` has the owners of what uses them, `written` where
/// it is used for rows that are written. The planner cannot know how few they are: IN with IS TRUE stays a look into a hash table, and
/// without merge joins and with memory for one hash table of what depends on what, it does well whatever it guesses.
const QUESTION: &str = "SET LOCAL search_path TO pg_catalog, pg_temp;SET LOCAL jit TO off;\
SET LOCAL max_parallel_workers_per_gather TO 0;SET LOCAL enable_mergejoin TO off;SET LOCAL work_mem TO '32MB';\
WITH RECURSIVE leaving AS MATERIALIZED (\
  SELECT p.oid, p.oid::text AS number FROM pg_proc p WHERE p.oid < 16384 AND NOT 2281 = ANY (p.proargtypes) \
    AND (p.proname IN (SELECT unnest('$leaving'::name[])) \
      OR p.provolatile <> 'i' AND p.proname NOT IN (SELECT unnest('$harmless'::name[])))\
), used(written, class, object) AS MATERIALIZED (\
  SELECT e.written AND NOT EXISTS (SELECT FROM pg_attribute a \
      WHERE a.attrelid = e.object AND a.attnum = e.part AND a.attgenerated = 'v'), e.class, e.object \
  FROM (SELECT s.*, split_part(unnest(string_to_array(s.tree COLLATE \"C\", 'funcid ')), ' ', 1) AS number FROM (\
    SELECT 'pg_class'::regclass::oid AS class, ev_class AS object, 0 AS part, ev_type <> '1' AS written, ev_action::text AS tree \
    FROM pg_rewrite WHERE oid >= 16384 OR ev_type <> '1' \
    UNION ALL SELECT 'pg_class'::regclass, ev_class, 0, ev_type <> '1', ev_qual::text FROM pg_rewrite WHERE ev_type <> '1' \
    UNION ALL SELECT 'pg_class'::regclass, adrelid, adnum, true, adbin::text FROM pg_attrdef \
    UNION ALL SELECT 'pg_class'::regclass, polrelid, 0, false, polqual::text FROM pg_policy \
    UNION ALL SELECT 'pg_class'::regclass, polrelid, 0, false, polwithcheck::text FROM pg_policy \
    UNION ALL SELECT CASE contypid WHEN 0 THEN 'pg_class'::regclass ELSE 'pg_type'::regclass END, \
      CASE contypid WHEN 0 THEN conrelid ELSE contypid END, 0, false, conbin::text FROM pg_constraint WHERE contype = 'c' \
    UNION ALL SELECT 'pg_class'::regclass, tgrelid, 0, true, tgqual::text FROM pg_trigger WHERE tgqual IS NOT NULL \
    UNION ALL SELECT 'pg_class'::regclass, indrelid, 0, false, indexprs::text FROM pg_index WHERE indexprs IS NOT NULL \
    UNION ALL SELECT 'pg_class'::regclass, indrelid, 0, false, indpred::text FROM pg_index WHERE indpred IS NOT NULL \
    UNION ALL SELECT 'pg_class'::regclass, partrelid, 0, false, partexprs::text FROM pg_partitioned_table \
    UNION ALL SELECT 'pg_class'::regclass, s.stxrelid, 0, false, to_jsonb(s) ->> 'stxexprs' FROM pg_statistic_ext s \
    UNION ALL SELECT 'pg_type'::regclass, oid, 0, false, typdefaultbin::text FROM pg_type WHERE typdefaultbin IS NOT NULL\
  ) s) e \
  WHERE (e.number IN (SELECT number FROM leaving)) IS TRUE AND NOT EXISTS \
    (SELECT FROM pg_class m WHERE e.class = 'pg_class'::regclass AND m.oid = e.object AND m.relkind = 'm') \
  UNION SELECT true, 'pg_class'::regclass, g.tgrelid FROM pg_trigger g JOIN leaving l ON l.oid = g.tgfoid \
  UNION SELECT false, 'pg_operator'::regclass, o.oid FROM pg_operator o JOIN leaving l ON l.oid = o.oprcode \
  UNION SELECT false, 'pg_cast'::regclass, c.oid FROM pg_cast c JOIN leaving l ON l.oid = c.castfunc \
  UNION SELECT false, 'pg_amproc'::regclass, a.oid FROM pg_amproc a JOIN leaving l ON l.oid = a.amproc \
  UNION SELECT false, 'pg_type'::regclass, r.rngtypid FROM pg_range r \
    JOIN leaving l ON l.oid IN (r.rngcanonical, r.rngsubdiff) \
  UNION SELECT false, 'pg_type'::regclass, t.oid FROM pg_type t \
    JOIN leaving l ON l.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout) \
    WHERE t.oid >= 16384 AND t.typtype = 'b' AND t.typcategory <> 'A'\
), depend AS MATERIALIZED (\
  SELECT d.classid, d.objid, d.refclassid, d.refobjid, d.deptype FROM pg_depend d \
  WHERE d.objid >= 16384 AND d.refobjid >= 12000 AND d.deptype IN ('n', 'a', 'i', 'P', 'S') \
    AND d.classid <> 'pg_proc'::regclass \
    AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS \
      (SELECT FROM pg_constraint c WHERE c.oid = d.objid AND c.contype = 'f'))\
), uses AS MATERIALIZED (\
  SELECT classid AS class, objid AS object, refclassid AS part_class, refobjid AS part, false AS written FROM depend \
  UNION ALL \
  SELECT d.refclassid, d.refobjid, d.classid, d.objid, CASE d.classid \
    WHEN 'pg_trigger'::regclass THEN true \
    WHEN 'pg_attrdef'::regclass THEN NOT EXISTS \
      (SELECT FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum \
       WHERE f.oid = d.objid AND a.attgenerated = 'v') \
    WHEN 'pg_rewrite'::regclass THEN EXISTS (SELECT FROM pg_rewrite r WHERE r.oid = d.objid AND r.ev_type <> '1') \
    ELSE false END \
  FROM depend d \
  WHERE (d.deptype <> 'n' OR (d.refclassid = 'pg_type'::regclass AND d.classid IN \
      ('pg_operator'::regclass, 'pg_cast'::regclass, 'pg_opclass'::regclass, 'pg_transform'::regclass))) \
    AND NOT (d.classid = 'pg_rewrite'::regclass AND EXISTS \
      (SELECT FROM pg_class c WHERE c.oid = d.refobjid AND c.relkind = 'm')) \
  UNION ALL \
  SELECT 'pg_class'::regclass, i.inhparent, 'pg_class'::regclass, i.inhrelid, false FROM pg_inherits i \
  UNION ALL \
  SELECT 'pg_class'::regclass, c.confrelid, 'pg_class'::regclass, c.conrelid, true \
  FROM pg_constraint c WHERE c.contype = 'f'\
), foreign_code(written, class, object) AS (\
  SELECT w.written, s.class, s.object FROM (VALUES (false), (true)) w (written), (\
    SELECT 'pg_proc'::regclass::oid AS class, p.oid AS object FROM pg_proc p WHERE p.oid >= 16384 \
    UNION ALL SELECT 'pg_am'::regclass::oid, a.oid FROM pg_am a WHERE a.oid >= 16384 \
    UNION ALL SELECT 'pg_class'::regclass::oid, c.oid FROM pg_class c WHERE c.relkind = 'f') s \
  UNION \
  SELECT w.written, u.class, u.object FROM used u JOIN (VALUES (false), (true)) w (written) ON w.written OR NOT u.written \
  UNION \
  SELECT f.written, u.class, u.object FROM foreign_code f \
  JOIN uses u ON u.part_class = f.class AND u.part = f.object WHERE f.written OR NOT u.written\
), foreign_types AS MATERIALIZED (\
  SELECT object AS oid FROM foreign_code WHERE class = 'pg_type'::regclass AND NOT written\
), foreign_operators AS MATERIALIZED (\
  SELECT o.* FROM pg_operator o JOIN foreign_code f ON f.object = o.oid AND f.class = 'pg_operator'::regclass \
  WHERE NOT f.written\
), is_reached AS MATERIALIZED (\
  SELECT EXISTS (SELECT FROM pg_cast c WHERE c.castcontext = 'i' AND c.castsource < 16384 \
      AND c.casttarget IN (SELECT oid FROM foreign_types)) \
    OR EXISTS (SELECT FROM pg_type t WHERE t.typispreferred AND t.oid IN (SELECT oid FROM foreign_types)) AS yes\
), is_everywhere AS MATERIALIZED (\
  SELECT EXISTS (SELECT FROM pg_cast c JOIN foreign_code f ON f.object = c.oid AND f.class = 'pg_cast'::regclass \
      WHERE c.castsource < 16384 AND c.casttarget < 16384) \
    OR EXISTS (SELECT FROM pg_opclass o JOIN foreign_code f ON f.object = o.oid AND f.class = 'pg_opclass'::regclass \
      WHERE o.opcdefault AND o.opcintype < 16384 AND o.opcmethod IN (403, 405)) \
    OR EXISTS (SELECT FROM pg_proc p WHERE p.oid < 16384 AND p.prolang NOT IN (12, 13, 14)) \
    OR EXISTS (SELECT FROM pg_type t JOIN pg_proc p ON p.oid = t.typmodin \
      WHERE p.oid >= 16384 AND p.prolang NOT IN (12, 13)) AS yes\
), relations AS (\
  SELECT c.relname AS name, bool_or(r.object IS NOT NULL) AS is_foreign, \
    bool_or(w.object IS NOT NULL) AS is_foreign_to_write \
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
  LEFT JOIN foreign_code r ON r.class = 'pg_class'::regclass AND r.object = c.oid AND NOT r.written \
  LEFT JOIN foreign_code w ON w.class = 'pg_class'::regclass AND w.object = c.oid AND w.written \
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_(temp|toast)' GROUP BY 1\
) \
SELECT CASE WHEN is_foreign_to_write THEN 'r' ELSE 'w' END AS kind, name FROM relations, is_everywhere e \
WHERE NOT is_foreign AND NOT e.yes \
UNION ALL SELECT 'f', p.proname FROM pg_proc p, is_everywhere e WHERE p.oid >= 16384 OR e.yes GROUP BY 2 \
UNION ALL SELECT 'a', p.proname FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0] \
  WHERE p.oid >= 16384 AND p.prorettype NOT IN (2279, 3838) AND (t.typtype IN ('c', 'p', 'd') OR EXISTS (SELECT FROM pg_cast c \
    JOIN pg_type s ON s.oid = c.castsource WHERE c.castcontext = 'i' AND s.typtype IN ('c', 'd'))) GROUP BY 2 \
UNION ALL SELECT 'o', o.oprname FROM pg_operator o, is_everywhere e, is_reached i \
  WHERE o.oid < 16384 AND NOT e.yes AND NOT EXISTS (SELECT FROM foreign_operators f WHERE f.oprname = o.oprname \
    AND (i.yes OR (f.oprleft < 16384 AND f.oprright < 16384))) GROUP BY 2 \
UNION ALL SELECT 't', t.typname FROM is_everywhere e, pg_type t LEFT JOIN foreign_types f ON f.oid = t.oid \
  WHERE t.typcategory <> 'A' AND NOT e.yes \
  AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')) \
  GROUP BY 2 HAVING count(f.oid) = 0 \
LIMIT 20000";
