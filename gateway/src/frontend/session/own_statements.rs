//! Statements about the session's token that the client has prepared, and the portal that one of them is bound to.

use pgdog_jwt::config::Secret;

use super::access::refused;
use super::names::significant;
use crate::dialect::OwnSetting;
use crate::wire::PgError;

/// Statements that one client may keep. Drivers prepare each text under a name of its own, and forget to close it.
const MOST: usize = 64;

/// What a statement asks for, without the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Set,
    SetConfig { parameter: bool },
    Reset(&'static str),
    Show,
}

impl Says {
    /// The one column of its result.
    pub(super) fn column(self) -> Option<&'static str> {
        match self {
            Self::SetConfig { .. } => Some("set_config"),
            Self::Show => Some("pgdog_jwt.token"),
            Self::Set | Self::Reset(_) => None,
        }
    }

    pub(super) fn renews(self) -> bool {
        matches!(self, Self::Set | Self::SetConfig { .. })
    }

    /// Of CommandComplete.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::SetConfig { .. } => "SELECT 1",
            Self::Reset(tag) => tag,
            Self::Show => "SHOW",
        }
    }

    /// Takes the token out of a statement; the error for one that is refused.
    pub(super) fn of(setting: OwnSetting) -> Result<(Self, Option<Secret>), PgError> {
        match setting {
            OwnSetting::Set(token) => Ok((Self::Set, Some(token))),
            OwnSetting::SetConfig(token) => Ok((Self::SetConfig { parameter: token.is_none() }, token)),
            OwnSetting::Reset { set } => Ok((Self::Reset(if set { "SET" } else { "RESET" }), None)),
            OwnSetting::Show => Ok((Self::Show, None)),
            OwnSetting::Refused(refusal) => Err(refused(refusal)),
        }
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct OwnStatements {
    /// The oldest first.
    prepared: Vec<Prepared>,
    portal: Option<Portal>,
}

struct Prepared {
    name: Box<[u8]>,
    says: Says,
    /// Given away when it is bound.
    token: Option<Secret>,
}

/// A statement that is ready to be executed.
pub(super) struct Portal {
    pub(super) name: Box<[u8]>,
    pub(super) says: Says,
    pub(super) token: Option<Secret>,
}

impl OwnStatements {
    pub(super) fn is_empty(&self) -> bool {
        self.prepared.is_empty() && self.portal.is_none()
    }

    pub(super) fn prepare(&mut self, name: &[u8], says: Says, token: Option<Secret>) {
        self.forget(name);
        if self.prepared.len() >= MOST {
            // Those with a parameter are prepared once and used again.
            let is_single = |prepared: &Prepared| prepared.says != Says::SetConfig { parameter: true };
            self.prepared.remove(self.prepared.iter().position(is_single).unwrap_or(0));
        }
        self.prepared.push(Prepared { name: name.into(), says, token });
    }

    /// What a statement asks for.
    pub(super) fn says(&self, name: &[u8]) -> Option<Says> {
        self.prepared
            .iter()
            .find(|prepared| significant(&prepared.name) == significant(name))
            .map(|prepared| prepared.says)
    }

    /// The token of a statement, once.
    pub(super) fn take_token(&mut self, name: &[u8]) -> Option<Secret> {
        self.prepared.iter_mut().find(|prepared| significant(&prepared.name) == significant(name))?.token.take()
    }

    /// Whether there was one of this name.
    pub(super) fn forget(&mut self, name: &[u8]) -> bool {
        let before = self.prepared.len();
        self.prepared.retain(|prepared| significant(&prepared.name) != significant(name));
        self.prepared.len() < before
    }

    pub(super) fn bind(&mut self, portal: Portal) {
        self.portal = Some(portal);
    }

    pub(super) fn portal(&mut self, name: &[u8]) -> Option<&mut Portal> {
        self.portal.as_mut().filter(|portal| significant(&portal.name) == significant(name))
    }

    /// A portal of this name is another's now, or none.
    pub(super) fn close_portal(&mut self, name: &[u8]) {
        self.portal = self.portal.take().filter(|portal| significant(&portal.name) != significant(name));
    }

    /// The end of a batch.
    pub(super) fn close_portals(&mut self) {
        self.portal = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_those_with_a_parameter_longest() {
        let mut own = OwnStatements::default();
        own.prepare(b"lasting", Says::SetConfig { parameter: true }, None);
        for number in 0..3 * MOST {
            own.prepare(number.to_string().as_bytes(), Says::Set, Some(Secret::new("a.b.c")));
        }
        assert_eq!(own.prepared.len(), MOST);
        assert!(own.says(b"lasting").is_some() && own.says(b"0").is_none());
    }

    #[test]
    fn a_token_is_given_away_once() {
        let mut own = OwnStatements::default();
        own.prepare(b"", Says::Set, Some(Secret::new("a.b.c")));
        assert!(own.take_token(b"").is_some() && own.take_token(b"").is_none());
        assert!(own.forget(b"") && !own.forget(b"") && own.is_empty());
    }
}
