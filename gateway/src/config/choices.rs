//! Settings that take one of a few words. The words are PgDog's.

/// A setting whose value is one word of a fixed list.
pub(crate) trait Choice: Copy + PartialEq + 'static {
    /// Every word with its meaning, in the order in which they are documented.
    const ALL: &'static [(&'static str, Self)];

    /// The value that a word stands for. Words from the environment may be in any case.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
    }

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, value)| *value == self).map_or("", |(name, _)| name)
    }
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub(crate) enum $name {
            $($(#[$about])* $variant,)+
        }

        impl Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    };
}

choice! {
    /// How a client proves who it is.
    AuthType {
        /// A salted MD5 hash of the password.
        Md5 = "md5",
        /// SCRAM-SHA-256 (RFC 7677).
        #[default]
        Scram = "scram",
        /// No proof at all.
        Trust = "trust",
        /// The password in clear text.
        Plain = "plain",
        /// A signed token in place of the password.
        Jwt = "jwt",
    }
}

choice! {
    /// How clients show their tokens.
    ClientFlow {
        /// As a password in clear text.
        #[default]
        Password = "password",
        /// Over SASL OAUTHBEARER (RFC 7628).
        OauthBearer = "oauthbearer",
        /// As a password, or over OAUTHBEARER by clients that ask for it.
        Both = "both",
    }
}

choice! {
    /// Whether clients may bring passwords that only PostgreSQL knows. Only `disabled` works here.
    PassthroughAuth {
        #[default]
        Disabled = "disabled",
        Enabled = "enabled",
        EnabledPlain = "enabled_plain",
        EnabledAllowChange = "enabled_allow_change",
        EnabledPlainAllowChange = "enabled_plain_allow_change",
    }
}

choice! {
    /// How long a client keeps a server connection.
    PoolerMode {
        /// Until the transaction ends.
        #[default]
        Transaction = "transaction",
        /// Until the client leaves.
        Session = "session",
        /// Until the statement ends.
        Statement = "statement",
    }
}

choice! {
    /// Which replica a read goes to.
    LoadBalancingStrategy {
        #[default]
        Random = "random",
        RoundRobin = "round_robin",
        LeastActiveConnections = "least_active_connections",
        WeightedRoundRobin = "weighted_round_robin",
    }
}

choice! {
    /// When a statement counts as a read.
    ReadWriteStrategy {
        /// Everything inside an explicit transaction goes to the primary.
        #[default]
        Conservative = "conservative",
        /// The first statement of a transaction decides.
        Aggressive = "aggressive",
    }
}

choice! {
    /// Whether the primary takes reads as well.
    ReadWriteSplit {
        #[default]
        IncludePrimary = "include_primary",
        ExcludePrimary = "exclude_primary",
        IncludePrimaryIfReplicaBanned = "include_primary_if_replica_banned",
        PreferPrimary = "prefer_primary",
    }
}

choice! {
    /// Which prepared statements follow the client from one server connection to the next.
    PreparedStatements {
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
    /// How the certificate of a PostgreSQL server is checked.
    TlsVerify {
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
    LogFormat {
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
    Role {
        #[default]
        Primary = "primary",
        Replica = "replica",
        /// Found out by asking the server.
        Auto = "auto",
    }
}

choice! {
    /// How the gateway proves itself to PostgreSQL when it logs in as a subject.
    LoginAuth {
        /// By the certificate that it shows in the TLS handshake.
        #[default]
        Certificate = "certificate",
        /// By one password for all subjects.
        Password = "password",
        /// Not at all: PostgreSQL trusts where it comes from.
        Trust = "trust",
    }
}

choice! {
    /// What becomes of `VALID UNTIL` of roles that the gateway makes.
    ValidUntil {
        /// It is left alone.
        #[default]
        None = "none",
        /// It follows the token's life.
        Token = "token",
    }
}

choice! {
    /// How much a guarded session may do.
    Guard {
        /// Also refuses `DO` and creating functions and procedures.
        #[default]
        Strict = "strict",
        /// Allows them, and checks the connection's identity before it is used again.
        Standard = "standard",
    }
}

choice! {
    /// Where the audit events go.
    AuditDestination {
        /// Among the other lines of the log.
        #[default]
        Log = "log",
        Stderr = "stderr",
        File = "file",
    }
}

choice! {
    /// What becomes of logins while the audit events cannot be written.
    AuditFailure {
        #[default]
        RefuseLogins = "refuse_logins",
        /// They go on, and their events go to the log.
        Continue = "continue",
    }
}

choice! {
    /// What is recorded of statements.
    StatementAudit {
        #[default]
        None = "none",
        /// One number for all statements that differ in constants alone.
        Fingerprint = "fingerprint",
        Text = "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_and_its_value_find_each_other() {
        assert_eq!(AuthType::from_word("JWT"), Some(AuthType::Jwt));
        assert_eq!(AuthType::from_word("jwtt"), None);
        assert_eq!(ReadWriteSplit::PreferPrimary.word(), "prefer_primary");
    }
}
