//! `[[jwt.user_mappings]]`.

use crate::config::IdentityMode;
use crate::reader::key::{Key, Setting, key, setting};
use crate::reader::kinds::{Filled, Flag, Word};

crate::keys! {
    /// Which user a token is about, where that is not what one claim says. The first rule that matches decides.
    pub(in crate::reader) static USER_MAPPINGS: List = "[[jwt.user_mappings]]" {
        /// The rule is for tokens with exactly this "iss".
        ISSUER: Key<Filled> = key("issuer", Filled).or("any");
        /// The claim that is matched: an exact name, or a path with dots.
        CLAIM: Key<Filled> = key("claim", Filled).or("`jwt_username_claim`");
        /// A regular expression that the whole claim must match.
        PATTERN: Key<Filled> = key("pattern", Filled).or("required");
        /// The user: text in which \1 to \9 are groups of the pattern and \0 is the whole claim.
        USER: Key<Filled> = key("user", Filled).or("required");
        /// ASCII letters of the user become lower case.
        LOWERCASE: Setting<Flag> = setting("lowercase", Flag, false);
        /// How such users come to PostgreSQL.
        MODE: Key<Word<IdentityMode>> = key("mode", Word::ANY).or("the issuer's");
    }
}
