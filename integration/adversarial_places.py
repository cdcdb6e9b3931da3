"""Roles with tables of their own, in the gateway's database and in one beside it to talk to directly."""

from __future__ import annotations

from adversarial_letters import Place
from harness import Cluster
from harness.cluster import DATABASE, SERVER_USER

LANES = 12
DIRECT_DATABASE = "direct_adversarial"
PASSWORD = "lane-secret"

# The function leaves what the client that calls it does not see.
OBJECTS = """
    CREATE TABLE copied (n int, word text);
    CREATE TABLE deferred (n int PRIMARY KEY,
        next int REFERENCES deferred DEFERRABLE INITIALLY DEFERRED);
    CREATE FUNCTION leaves(mark text) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM set_config('app.left', mark, false), pg_advisory_lock_shared({lock});
        RETURN 1;
    END $$;
"""


def create_places(cluster: Cluster, count: int = LANES) -> list[Place]:
    places = [
        Place(f"lane_{number}", f"other_{number}", None, 1000 + 2 * number, 700_000 + number)
        for number in range(count)
    ]
    with cluster.admin() as admin:
        admin.execute(f"CREATE DATABASE {DIRECT_DATABASE}")
        for role in _roles(places):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(f"GRANT {', '.join(_roles(places))} TO {SERVER_USER}")
        for place in places:
            admin.execute(f"GRANT {place.other} TO {place.role}")
    for database in (DATABASE, DIRECT_DATABASE):
        with cluster.primary.admin(database) as admin:
            for place in places:
                for role in (place.role, place.other):
                    admin.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
                    objects = OBJECTS.format(lock=place.lock + 1)
                    admin.execute(f"SET ROLE {role}; {objects} RESET ROLE")
                admin.execute(f"SELECT lo_create({place.large_object})")
                admin.execute(f"ALTER LARGE OBJECT {place.large_object} OWNER TO {place.role}")
    return places


def drop_places(cluster: Cluster, places: list[Place]) -> None:
    names = ", ".join(_roles(places))
    with cluster.admin() as admin:
        admin.execute(f"DROP DATABASE {DIRECT_DATABASE} WITH (FORCE)")
        for role in _roles(places):
            admin.execute(f"DROP SCHEMA {role} CASCADE")
        admin.execute(f"DROP OWNED BY {names} CASCADE")
        admin.execute(f"DROP ROLE {names}")


def _roles(places: list[Place]) -> list[str]:
    return [role for place in places for role in (place.role, place.other)]
