//! `[jwt.session]`.

use crate::reader::key::{Key, key};
use crate::reader::kinds::{Special, Strings};

crate::keys! {
    /// Claims that a session carries as settings of PostgreSQL.
    pub(in crate::reader) static SESSION: Table = "[jwt.session]" {
        /// Ready-made variables.
        PRESET: Key<Strings> = key("preset", Strings);
        /// Names such as "app.tenant_id", and templates such as "{tenant_id}".
        VARIABLES: Key<Special> = key("variables", Special { type_name: "table", schema: super::variables_schema });
    }
}
