//! Settings of token users. `pgdog-jwt` reads them from the text of the file; here they only have a name.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value that is kept as it is, for a configuration that is saved, and never shown: some are secret.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Kept(Option<serde_json::Value>);

impl Kept {
    /// Whether the file does not have it.
    pub fn is_unset(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_unset() { "None" } else { "Kept(..)" })
    }
}
