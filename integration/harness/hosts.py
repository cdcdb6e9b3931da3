"""The program under test: the gateway, or a PgDog with our patches that somebody has built (`PGDOG`).

What a test needs says which of them it is for: a key of the configuration that a PgDog refuses by name skips
the test, and what no key shows is written down here, by file or by test. The summary counts them.
"""

from __future__ import annotations

import os
import re
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

NO_DISCONNECT = "the gateway's event at the end of a session"
COPY_ERROR = "an error of COPY FROM STDIN while the client still sends gets no answer, or ends the session"
NO_REASON = "PgDog does not say why a connection could not be made"

# What a PgDog without the patches does in the same way, with a user that has a password.
UNPATCHED: dict[str, str] = {
    "test_copy::test_copy_in_by_the_extended_protocol": (
        "COPY FROM STDIN in one batch of the extended protocol stores nothing"
    ),
    "test_copy::test_an_error_in_the_middle_of_copy_in_leaves_the_session_usable": COPY_ERROR,
    "test_copy::test_a_copy_that_fails_in_the_middle_of_a_message_frees_its_server": COPY_ERROR,
    "test_copy::test_one_row_of_a_hundred_megabytes_does_not_grow_the_gateway": (
        "a message is in memory as a whole"
    ),
    "test_expiry::test_a_state_that_holds_a_server_ends_with_the_session": (
        "temporary tables stay on the connection, for the next session of its pool"
    ),
    "test_login::test_start_up_parameters_cannot_choose_the_role"
    "[{'options': '-c statement_timeout=1000 --role=bob'}]": "of `options` it reads `-c` alone",
    "test_read_only::test_with_the_replica_stopped_a_read_only_subject_never_reaches_the_primary": (
        "without the replica a statement waits before its error"
    ),
    "test_read_only::test_a_session_survives_the_loss_of_the_replica_with_an_error": (
        "without the replica a statement waits before its error"
    ),
    "test_session_attacks::test_a_flood_of_requests_behind_a_slow_statement_does_not_grow_the_gateway": (
        "requests behind a statement that runs are read"
    ),
    "test_session_attacks::test_an_unnamed_statement_that_was_closed_or_refused_is_gone": (
        "a prepared statement that was closed or deallocated is still there"
    ),
    "test_session_attacks::test_deallocate_forgets_a_statement_of_the_protocol": (
        "a prepared statement that was closed or deallocated is still there"
    ),
    "test_session_attacks::test_deallocate_all_forgets_all_of_them": (
        "a prepared statement that was closed or deallocated is still there"
    ),
    "test_session_attacks::test_discard_all_by_name_keeps_the_subject_whatever_happens_to_the_name": (
        "a Close behind an error counts, and a name that is taken can be prepared again"
    ),
    "test_session_variables::test_what_resets_everything_leaves_them[own-DISCARD ALL]": (
        "DISCARD ALL leaves a session's settings as they are"
    ),
    "test_transactions::test_begin_and_commit_in_one_string_of_statements": (
        "of a text that begins with BEGIN it runs nothing else"
    ),
    "test_transactions::test_a_client_that_dies_in_a_statement_leaves_nothing": (
        "the statement of a client that is gone runs on"
    ),
}

# What a test needs that is the gateway's alone. A name without `::` is a whole file, one with `[` one case.
GATEWAY_ONLY: dict[str, str] = {
    "test_admin": "commands of the gateway's admin database",
    "test_admin_bans": "commands of the gateway's admin database",
    "test_application_name": "names of sessions in PostgreSQL",
    "test_audit": "the gateway's audit of sessions and statements",
    "test_budget": "one budget over all pools",
    "test_cli": "the gateway's command line",
    "test_compose": "the gateway's containers",
    "test_explain": "the gateway's command line",
    "test_login_mode": "subjects that log in to PostgreSQL themselves",
    "test_metrics": "the gateway's metrics",
    "test_oauthbearer": "SASL OAUTHBEARER",
    "test_oauthbearer_libpq": "SASL OAUTHBEARER",
    "test_provisioning": "roles that logins make",
    "test_provisioning_failures": "roles that logins make",
    "test_provisioning_groups": "roles that logins make",
    "test_provisioning_shared": "roles that logins make",
    "test_renewal": "renewal of tokens",
    "test_replication": "replication connections of token users",
    "test_resolvers": "resolvers",
    "test_revocation": "revocation by command; PgDog reads the file",
    "test_secrets": "secrets in forms that PgDog's own keys do not have",
    "test_shared_pool": "pools that subjects share",
    "test_shared_roles": "pools that subjects share",
    "test_statement_audit": "the gateway's audit of sessions and statements",
    "test_statement_secrets": "the gateway's audit of sessions and statements",
    "test_tenants": "tenants in the user's name",
    "test_tenant_logins": "tenants in the user's name",
    "test_verify": "the gateway's command line",
    "test_syntax_errors::test_a_syntax_error_is_a_mistake_and_no_refusal": "the gateway's log of refusals",
    "test_role_mappings::test_check_says_who_gets_which_account_and_no_password": "the gateway's program",
    "test_guard::test_a_refusal_in_a_transaction_is_an_error_of_that_transaction": (
        "where no server has seen the transaction yet, PgDog ends it by itself and calls that COMMIT"
    ),
    "test_drivers::test_psycopg_listens": "LISTEN: PgDog's channels are off beside tokens",
    "test_drivers::test_asyncpg_listens": "LISTEN: PgDog's channels are off beside tokens",
    "test_login::test_the_greeting_is_complete": "PgDog writes names of parameters in lower case",
    "test_expiry::test_a_result_that_nobody_reads_obeys_the_grace": NO_DISCONNECT,
    "test_expiry::test_a_pipeline_without_a_pause_comes_to_its_end": NO_DISCONNECT,
    "test_revocation_file::test_a_file_that_is_truncated_in_place_lets_nobody_in": "the gateway's metrics",
    "test_revocation_file::test_a_loss_that_is_meant_counts": "the gateway's metrics",
    "test_revocation_file::test_a_revocation_until_the_end_of_its_token_holds_during_the_leeway": (
        "revocation by command; PgDog reads the file"
    ),
    "test_user_mapping::test_what_a_rule_makes_is_still_not_every_role"
    "['mallory@example.com'-'role_refused']": NO_REASON,
    "test_role_mappings::test_a_wrong_password_of_the_account_looks_like_any_refusal": NO_REASON,
    "test_session_attacks::test_a_promoted_replica_serves_no_read_only_user": (
        "PgDog ends the session in place of an error"
    ),
    **dict.fromkeys(
        (
            "test_issuers::test_sessions_of_an_issuer_that_is_gone_end",
            "test_reload::test_a_session_goes_on_under_other_rules",
            "test_reload::test_another_mode_holds_from_the_next_statement_on",
            "test_reload::test_a_session_whose_statements_would_be_lost_ends",
            "test_reload::test_a_session_follows_a_new_account_for_tokens",
            "test_role_mappings::test_a_changed_password_file_counts_after_a_reload",
            "test_role_mappings::test_a_session_goes_on_when_rules_are_added_behind_its_own",
        ),
        "sessions that follow a reload: PgDog ends them when the settings for tokens change",
    ),
    **{name: f"as an unpatched PgDog: {what}" for name, what in UNPATCHED.items()},
}

# What a PgDog says to a key that it does not have.
REFUSALS = (r'PgDog cannot honour \\"[^\n]*?(?=\\n|"\))', r"unknown field `\w+`", r"unknown variant `\w+`")


def is_pgdog() -> bool:
    return bool(os.environ.get("PGDOG"))


def pgdog() -> Path:
    named = os.environ["PGDOG"]
    if found := shutil.which(named):
        return Path(found).resolve()
    raise RuntimeError(f"PGDOG={named}: no such program")


def for_pgdog(config: dict[str, Any]) -> dict[str, Any]:
    """The same without keys whose value there is what PgDog does anyway."""
    config = deepcopy(config)
    own = config.get("jwt", {})
    if own.get("shared_pool") is False:
        del own["shared_pool"]
    # PgDog does not attach a role's settings, so none are old.
    own.pop("role_settings_ttl", None)
    return config


def skip_unknown_keys(log: str) -> None:
    """Skips the test where a PgDog has refused a key of its configuration, and says which."""
    for refusal in REFUSALS:
        if found := re.search(refusal, log):
            pytest.skip(f"a key that PgDog does not have: {found[0]}".replace("\\", ""))


def mark(items: list[pytest.Item]) -> None:
    """Skips what is for the gateway alone."""
    for item in items:
        file = item.path.stem
        for name in {file, f"{file}::{getattr(item, 'originalname', item.name)}", f"{file}::{item.name}"}:
            if reason := GATEWAY_ONLY.get(name):
                item.add_marker(pytest.mark.gateway(reason))
                item.add_marker(pytest.mark.skip(reason=f"for the gateway: {reason}"))
