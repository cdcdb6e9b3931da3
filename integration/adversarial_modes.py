"""The ways in which the gateway is set up for adversarial conversations, and who talks in each.

Pairwise: each value of a setting stands beside each value of every other, and beside each PostgreSQL.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from adversarial_lanes import Client, Lane
from adversarial_letters import Place
from adversarial_places import DIRECT_DATABASE, LANES, PASSWORD
from adversarial_sequences import (
    MOVING,
    Letters,
    alphabet,
    every,
    every_copy,
    every_name,
    pairs,
    random_sequence,
)
from harness import Cluster
from harness.cluster import DATABASE, SERVER_USER
from harness.comparison import Side
from harness.target import Target

WHOLE = os.environ.get("ADVERSARIAL") == "all"
LONGEST = int(os.environ.get("ADVERSARIAL_LONGEST", "3"))
RANDOM = int(os.environ.get("ADVERSARIAL_RANDOM", "5000" if WHOLE else "25"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "1"))
# These sequences alone, as findings show them, with semicolons in between.
SEQUENCE = os.environ.get("ADVERSARIAL_SEQUENCE")
SECONDS = float(os.environ.get("ADVERSARIAL_SECONDS", "20"))

VARIABLE = "app.tenant_id"
# The PostgreSQL with the defect that adversarial_rules.py speaks of.
DEFECTIVE = "18.4"


@dataclass
class Mode:
    """By default, it has one of so many sequences of each kind."""

    general: dict[str, Any] = field(default_factory=dict)
    # `role`: a subject becomes a role. `account`: subjects share one that logs in. `password`: a role of
    # users.toml logs in as itself.
    identity: Literal["role", "account", "password"] = "role"
    # Where the tenant of a session comes from: a claim, or what stands behind the user's name.
    tenant: Literal["", "claim", "name"] = "claim"
    shared: bool = False
    standard: bool = False
    every: int = 31
    every_name: int = 31
    every_copy: int = 31

    @property
    def in_sessions(self) -> bool:
        return self.general.get("pooler_mode") == "session"

    @property
    def servers(self) -> int:
        return int(self.general.get("default_pool_size", 1))

    @property
    def prepared(self) -> str:
        return "disabled" if self.in_sessions else self.general.get("prepared_statements", "extended")

    @property
    def guarded(self) -> bool:
        return self.identity != "password" or bool(self.tenant)

    @property
    def letters(self) -> Letters:
        holds = self.in_sessions or self.servers > 1
        letters = alphabet(
            begins=self.general.get("pooler_mode") != "statement",
            holds=holds,
            prepares=holds or self.prepared == "full",
            runs_code=self.standard or not self.guarded,
            takes=not self.guarded,
        )
        # By the extended protocol SQL PREPARE does not follow the client, and holds it to its server.
        return tuple(letter for letter in letters if holds or letter not in ("X prepare a", "P prepare a"))

    def sequences(self) -> Iterator[Letters]:
        """Those that this mode has all the letters for."""
        if SEQUENCE:
            wanted = [tuple(each.strip().split(" · ")) for each in SEQUENCE.split(";")]
            return (sequence for sequence in wanted for _ in range(2 * LANES))
        letters = set(self.letters)
        return (sequence for sequence in self._sequences() if letters.issuperset(sequence))

    def _sequences(self) -> Iterator[Letters]:
        randoms = (random_sequence(FIRST_SEED + number, self.letters) for number in range(RANDOM))
        if WHOLE:
            # Three letters of all take hours, in the mode that most have.
            longest = LONGEST if self == MODES["transaction"] else 2
            return itertools.chain(
                every(self.letters, longest),
                every(MOVING, 4, longest + 1),
                every_copy(5),
                every_name(5),
                randoms,
            )
        short = itertools.chain(pairs(self.letters), every(MOVING, 3, 3))
        return itertools.chain(
            itertools.islice(short, 0, None, self.every),
            itertools.islice(every_copy(4), 0, None, self.every_copy),
            itertools.islice(every_name(5), 0, None, self.every_name),
            randoms,
        )

    def tables(self, cluster: Cluster) -> dict[str, Any]:
        """The gateway's configuration, with a database entry for each lane."""
        entry = {
            "host": cluster.primary.host,
            "port": cluster.primary.port,
            "database_name": DATABASE,
            "role": "primary",
        }
        general = {"default_pool_size": 1, "checkout_timeout": 15_000, "log_connections": False}
        jwt: dict[str, Any] = {
            "shared_pool": self.shared and self.identity == "role",
            "guard": "standard" if self.standard else "strict",
            "password_auth_type": "plain",
        }
        if self.identity == "account":
            none = ("jwt_server_user", "jwt_server_password", "jwt_user_auto_provision")
            general |= dict.fromkeys(none)
            jwt["identity"] = {"mode": "service_account"}
            jwt["standard_guard_on_shared_roles"] = "accept"
            jwt["role_mappings"] = [
                {"value": f"lane_{number}", "server_user": f"lane_{number}", "server_password": PASSWORD}
                for number in range(LANES)
            ]
        tables: dict[str, Any] = {}
        if self.tenant == "name":
            tables["tenants"] = {"variables": [VARIABLE], "claim": "tenant_id"}
        elif self.tenant:
            jwt["session"] = {"variables": {VARIABLE: "{tenant_id}"}}
        return tables | {
            "general": general | self.general,
            "jwt": jwt,
            "databases": [{"name": f"lane_{number}", **entry} for number in range(LANES)],
            "users": self._users() if self.identity == "password" else [],
        }

    def _users(self) -> list[dict[str, Any]]:
        tenants = {"tenants": ["*"]} if self.tenant else {}
        return [
            {"name": f"lane_{number}", "database": f"lane_{number}", "password": PASSWORD, **tenants}
            for number in range(LANES)
        ]

    def clients(self, number: int, place: Place, target: Target) -> list[Client]:
        """Who has the conversation, and who else may get its server."""

        def client(role: str, subject: str, tenant: str) -> Client:
            user = f"{subject}.{tenant}" if self.tenant == "name" else subject
            password = PASSWORD
            if self.identity != "password":
                password = target.issuer.token(subject, expires_in=36_000, tenant_id=tenant, role=role)
            parameters = {"user": user, "database": f"lane_{number}", "application_name": place.role}
            return Client(
                Side(target.host, target.port, parameters, password),
                role,
                SERVER_USER if self.identity == "role" else role,
                tenant if self.tenant else None,
            )

        tenant, elsewhere = f"tenant_{number}", f"elsewhere_{number}"
        subject, other = (
            (f"subject_{number}", f"colleague_{number}")
            if self.identity == "account"
            else (place.role, place.other)
        )
        found = [client(place.role, subject, tenant)]
        if self.identity == "account":
            found.append(client(place.role, other, elsewhere))
        elif self.identity == "password" and self.tenant:
            found.append(client(place.role, subject, elsewhere))
        elif self.shared:
            found.append(client(place.other, other, elsewhere))
        return found

    def lanes(self, places: Sequence[Place], target: Target, cluster: Cluster) -> list[Lane]:
        return [self._lane(number, place, target, cluster) for number, place in enumerate(places)]

    def _lane(self, number: int, place: Place, target: Target, cluster: Cluster) -> Lane:
        sockets, port = str(cluster.primary.sockets), cluster.primary.port
        clients = self.clients(number, place, target)
        place = place._replace(tenant=clients[0].tenant)
        direct = {"user": place.role, "database": DIRECT_DATABASE, "application_name": place.role}
        if place.tenant:
            direct["options"] = f"-c {VARIABLE}={place.tenant}"
        return Lane(
            place,
            direct=Side(sockets, port, direct),
            clients=clients,
            keepers=[
                Side(sockets, port, {"user": "postgres", "database": name})
                for name in (DIRECT_DATABASE, DATABASE)
            ],
            seconds=SECONDS,
            servers=self.servers,
            is_renaming=self.prepared != "disabled",
            forgets_names=self.prepared == "extended" or self.in_sessions,
            is_verified=self.standard,
            in_sessions=self.in_sessions,
            has_defect=cluster.installation.version == DEFECTIVE,
            guarded=self.guarded,
        )


DISABLED = {"prepared_statements": "disabled"}
FULL = {"prepared_statements": "full"}
SESSION = {"pooler_mode": "session"}
ALWAYS = {"server_cleaning": "always"}
ACCOUNT: Any = {"identity": "account"}
PASSWORDS: Any = {"identity": "password", "tenant": ""}

MODES = {
    "transaction": Mode(every=3, every_name=7, every_copy=1),
    "shared": Mode(shared=True, tenant=""),
    "shared, variables": Mode(shared=True, every=7, every_name=7, every_copy=7),
    "disabled": Mode(DISABLED, every=7, every_name=3),
    "disabled, shared, standard": Mode(DISABLED, shared=True, standard=True),
    "full, standard": Mode(FULL, standard=True, tenant=""),
    "full, shared": Mode(FULL, shared=True),
    "pinned": Mode({"default_pool_size": 2}),
    "statement": Mode({"pooler_mode": "statement"}),
    "session": Mode(SESSION, every=7, every_name=2),
    "session, shared, standard": Mode(SESSION, shared=True, standard=True),
    "session, shared": Mode(SESSION, shared=True, tenant=""),
    "account": Mode(**ACCOUNT),
    "account, variables": Mode(FULL, **ACCOUNT, standard=True),
    "account, tenants": Mode(DISABLED | ALWAYS, **ACCOUNT, tenant="name"),
    "account, session": Mode(SESSION, **ACCOUNT),
    "account, session, tenants": Mode(SESSION, **ACCOUNT, tenant="name"),
    "password": Mode(**PASSWORDS),
    "password, always": Mode(FULL | ALWAYS, **PASSWORDS),
    "password, disabled": Mode(DISABLED, **PASSWORDS),
    "password, pinned": Mode(ALWAYS | {"default_pool_size": 2}, **PASSWORDS),
    "password, tenants": Mode(identity="password", tenant="name"),
    "password, session": Mode(SESSION, **PASSWORDS),
    "password, session, always": Mode(SESSION | ALWAYS, **PASSWORDS),
}
