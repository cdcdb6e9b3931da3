//! Settings that take one of a few words. The words are PgDog's. Those of the token settings are in `pgdog_jwt::reader`.

use pgdog_jwt::choice;

choice! {
    /// Whether clients may bring passwords that only PostgreSQL knows. Only `disabled` works here.
    pub(crate) enum PassthroughAuth {
        #[default]
        Disabled = "disabled",
        Enabled = "enabled",
        EnabledPlain = "enabled_plain",
        EnabledAllowChange = "enabled_allow_change",
        EnabledPlainAllowChange = "enabled_plain_allow_change",
    }
}

choice! {
    /// Which replica a read goes to.
    pub(crate) enum LoadBalancingStrategy {
        #[default]
        Random = "random",
        RoundRobin = "round_robin",
        LeastActiveConnections = "least_active_connections",
        WeightedRoundRobin = "weighted_round_robin",
    }
}

choice! {
    /// When a statement counts as a read.
    pub(crate) enum ReadWriteStrategy {
        /// Everything inside an explicit transaction goes to the primary.
        #[default]
        Conservative = "conservative",
        /// The first statement of a transaction decides.
        Aggressive = "aggressive",
    }
}

choice! {
    /// Whether the primary takes reads as well.
    pub(crate) enum ReadWriteSplit {
        #[default]
        IncludePrimary = "include_primary",
        ExcludePrimary = "exclude_primary",
        IncludePrimaryIfReplicaBanned = "include_primary_if_replica_banned",
        PreferPrimary = "prefer_primary",
    }
}

choice! {
    /// Which prepared statements follow the client from one server connection to the next.
    pub(crate) enum PreparedStatements {
        Disabled = "disabled",
        /// Named ones of the extended protocol.
        #[default]
        Extended = "extended",
        /// Those, and the unnamed one.
        ExtendedAnonymous = "extended_anonymous",
        /// Those, and SQL `PREPARE`.
        Full = "full",
    }
}

choice! {
    /// When a server connection is cleaned that goes from one client to the next.
    pub(crate) enum ServerCleaning {
        /// At every change of client.
        Always = "always",
        /// Where code may have run that is not PostgreSQL's own.
        #[default]
        WhenNeeded = "when_needed",
        /// Not at all.
        Never = "never",
    }
}

choice! {
    /// How the certificate of a PostgreSQL server is checked.
    pub(crate) enum TlsVerify {
        /// No TLS.
        Disabled = "disabled",
        /// TLS when the server has it; the certificate is not checked.
        #[default]
        Prefer = "prefer",
        /// TLS, and a certificate from a trusted authority.
        VerifyCa = "verify_ca",
        /// That, and the certificate names the host.
        VerifyFull = "verify_full",
    }
}

choice! {
    /// The form of log lines.
    pub(crate) enum LogFormat {
        #[default]
        Text = "text",
        /// One JSON object a line, an event's fields in an object of their own.
        Json = "json",
        /// One JSON object a line, an event's fields at the top.
        JsonFlattened = "json_flattened",
    }
}

choice! {
    /// What a server is in its cluster.
    pub(crate) enum Role {
        #[default]
        Primary = "primary",
        Replica = "replica",
        /// Found out by asking the server.
        Auto = "auto",
    }
}

choice! {
    /// What becomes of `VALID UNTIL` of roles that the gateway makes.
    pub(crate) enum ValidUntil {
        /// It is left alone.
        #[default]
        None = "none",
        /// It follows the token's life.
        Token = "token",
    }
}

choice! {
    /// Where the audit events go.
    pub(crate) enum AuditDestination {
        /// Among the other lines of the log.
        #[default]
        Log = "log",
        Stderr = "stderr",
        File = "file",
    }
}

choice! {
    /// What becomes of logins while the audit events cannot be written.
    pub(crate) enum AuditFailure {
        #[default]
        RefuseLogins = "refuse_logins",
        /// They go on, and their events go to the log.
        Continue = "continue",
    }
}

choice! {
    /// What is recorded of statements.
    pub(crate) enum StatementAudit {
        #[default]
        None = "none",
        /// One number for all statements that differ in constants alone.
        Fingerprint = "fingerprint",
        Text = "text",
    }
}
