#!/bin/bash
# The replica's entry point: copies the primary at the first start, then follows it.
set -eu
data=/var/lib/postgresql/data
if [ ! -s "$data/PG_VERSION" ]; then
    pg_basebackup --pgdata "$data" --host primary --username replicator --write-recovery-conf --checkpoint fast
    chmod 0700 "$data"
fi
exec postgres -D "$data" -c listen_addresses='*'
