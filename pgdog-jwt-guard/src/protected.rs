//! Names of settings that a session may not change.

use std::sync::Arc;

use crate::guard::canonical;

/// Names of settings, kept as the guard compares them: PostgreSQL ignores their case (19.1.1), so whoever makes the list need
/// not think of it. A name that ends in `.` or `*` stands for all names that begin with what is before the `*`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Protected(Arc<[Box<str>]>);

impl<S: AsRef<str>> FromIterator<S> for Protected {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(|name| canonical(name.as_ref()).into()).collect())
    }
}

impl Protected {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name is one of these, or begins as one of them says. The name's case does not matter.
    pub fn has(&self, name: &str) -> bool {
        let name = &*canonical(name);
        self.0.iter().any(|entry| match entry.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None if entry.ends_with('.') => name.starts_with(&**entry),
            None => name == &**entry,
        })
    }

    /// These and others.
    #[must_use]
    pub fn and<S: AsRef<str>>(&self, others: impl IntoIterator<Item = S>) -> Self {
        let others: Self = others.into_iter().collect();
        self.0.iter().chain(&*others.0).collect()
    }

    /// These, but for the entry that is written like this.
    #[must_use]
    pub fn without(&self, entry: &str) -> Self {
        let entry = canonical(entry);
        self.0.iter().filter(|own| ***own != *entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_regard_to_case() {
        let protected: Protected = ["App.Tenant", "JWT.", "Orochi.*", "İd"].into_iter().collect();
        for name in ["app.tenant", "APP.TENANT", "jwt.sub", "Jwt.Sub", "orochi.x", "OROCHI.", "id"] {
            assert!(protected.has(name), "{name}");
        }
        for name in ["app.tenants", "app", "jwt", "orochi", "x.jwt.sub"] {
            assert!(!protected.has(name), "{name}");
        }
        assert!(!protected.without("app.TENANT").has("app.tenant"));
        assert!(protected.and(["Other.Name"]).has("other.name") && protected.and(["Other.Name"]).has("app.tenant"));
    }
}
