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

# What a test needs that is the gateway's alone. A name without `::` is a whole file.
GATEWAY_ONLY: dict[str, str] = {
    "test_admin": "commands of the gateway's admin database",
    "test_admin_bans": "commands of the gateway's admin database",
    "test_application_name": "names of sessions in PostgreSQL",
    "test_audit": "the gateway's audit of sessions and statements",
    "test_budget": "one budget over all pools",
    "test_cli": "the gateway's command line",
    "test_compose": "the gateway's containers",
    "test_explain": "the gateway's command line",
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
    "test_shared_pool": "pools that subjects share",
    "test_shared_roles": "pools that subjects share",
    "test_statement_audit": "the gateway's audit of sessions and statements",
    "test_statement_secrets": "the gateway's audit of sessions and statements",
    "test_tenants": "tenants in the user's name",
    "test_tenant_logins": "tenants in the user's name",
    "test_verify": "the gateway's command line",
    "test_role_mappings::test_check_says_who_gets_which_account_and_no_password": "the gateway's program",
    "test_guard::test_a_refusal_in_a_transaction_is_an_error_of_that_transaction": (
        "where no server has seen the transaction yet, PgDog ends it by itself and calls that COMMIT"
    ),
    "test_drivers::test_psycopg_listens": "LISTEN: PgDog's channels are off beside tokens",
    "test_drivers::test_asyncpg_listens": "LISTEN: PgDog's channels are off beside tokens",
    "test_login::test_the_greeting_is_complete": "PgDog writes names of parameters in lower case",
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
        for name in (item.path.stem, f"{item.path.stem}::{getattr(item, 'originalname', item.name)}"):
            if reason := GATEWAY_ONLY.get(name):
                item.add_marker(pytest.mark.gateway(reason))
                item.add_marker(pytest.mark.skip(reason=f"for the gateway: {reason}"))
