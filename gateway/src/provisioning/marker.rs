//! The mark on a role that the gateway made, kept as the role's comment: only marked roles are ever changed. It also says
//! for whom it was made, on which day a token for the role was last seen, and how new the groups are that the role has.

use std::fmt;

/// How every mark begins.
pub(super) const PREFIX: &str = "pgdog-jwt: made for a token";

/// What the mark of a role says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marker {
    /// The day, as `2026-11-21`, by the server's clock in UTC.
    pub(super) seen: String,
    /// When the issuer said which groups it is in, in seconds since 1970.
    pub(super) groups_as_of: Option<u64>,
    /// Whose groups they are: [`subject_id`](super::subject_id).
    pub(super) subject: Option<String>,
    /// Not seen for so long that nobody can become it.
    pub(super) disabled: bool,
}

impl Marker {
    /// Reads a comment. `None`: the role is not one of ours.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let mut marker = Self::default();
        for part in comment.strip_prefix(PREFIX)?.split("; ").skip(1) {
            match part.split_once('=') {
                Some(("seen", day)) => day.clone_into(&mut marker.seen),
                Some(("groups_as_of", seconds)) => marker.groups_as_of = seconds.parse().ok(),
                Some(("subject", subject)) => marker.subject = Some(subject.to_owned()),
                None if part == "disabled" => marker.disabled = true,
                // A later version may say more.
                _ => {}
            }
        }
        Some(marker)
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}; seen={}", self.seen)?;
        if let Some(seconds) = self.groups_as_of {
            write!(f, "; groups_as_of={seconds}")?;
        }
        if let Some(subject) = &self.subject {
            write!(f, "; subject={subject}")?;
        }
        if self.disabled { f.write_str("; disabled") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for groups_as_of in [None, Some(0), Some(1_763_729_000)] {
            for (disabled, subject) in [(false, None), (true, Some("0f".to_owned()))] {
                let marker = Marker { seen: "2026-11-21".to_owned(), groups_as_of, subject, disabled };
                assert_eq!(Marker::parse(&marker.to_string()), Some(marker));
            }
        }
    }

    #[test]
    fn other_comments_are_no_mark() {
        for comment in ["", "pgdog-jwt", "made for a token", " pgdog-jwt: made for a token; seen=2026-11-21"] {
            assert_eq!(Marker::parse(comment), None, "{comment}");
        }
    }
}
