#!/bin/sh
# Run by the PostgreSQL image when the primary starts for the first time: lets a replica follow.
set -eu
psql --username postgres --dbname demo --set ON_ERROR_STOP=1 \
    --command "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'replicator-secret'"
echo 'host replication replicator all scram-sha-256' >>"$PGDATA/pg_hba.conf"
