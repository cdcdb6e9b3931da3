//! Settings that take one of a few words. The words are PgDog's.

/// A setting whose value is one word of a fixed list.
pub trait Choice: Copy + PartialEq + 'static {
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

/// An enumeration whose values are written as words, with its [`Choice`](crate::reader::Choice).
#[macro_export]
macro_rules! choice {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        $vis enum $name {
            $($(#[$about])* $variant,)+
        }

        impl $crate::reader::Choice for $name {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    };
}

choice! {
    /// How a client proves who it is.
    pub enum AuthType {
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
    pub enum ClientFlow {
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
    /// How long a client keeps a server connection.
    pub enum PoolerMode {
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
    /// How the gateway proves itself to PostgreSQL when it logs in as a subject.
    pub enum LoginAuth {
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
    /// How much a guarded session may do.
    pub enum Guard {
        /// Also refuses `DO` and creating functions and procedures.
        #[default]
        Strict = "strict",
        /// Allows them, and checks the connection's identity before it is used again.
        Standard = "standard",
    }
}

choice! {
    /// Whether subjects may bring code where several of them are one role.
    pub enum SharedRoles {
        /// No: such a configuration is refused.
        #[default]
        Refuse = "refuse",
        /// They may change the role for each other.
        Accept = "accept",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_and_its_value_find_each_other() {
        assert_eq!(AuthType::from_word("JWT"), Some(AuthType::Jwt));
        assert_eq!(AuthType::from_word("jwtt"), None);
        assert_eq!(PoolerMode::Session.word(), "session");
    }
}
