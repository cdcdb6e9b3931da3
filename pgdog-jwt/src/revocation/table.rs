//! The entries, to be found by what a token says of itself: at most four look-ups for each token, however many there are.

use std::collections::HashMap;
use std::time::SystemTime;

use super::entry::{Kept, Listed, Revocation, Target, TokenIdentity};
use super::file::FileProblem;
use super::line::Line;

type Entries = HashMap<Box<str>, Vec<Listed>>;

#[derive(Default)]
pub(super) struct Table {
    tokens: Entries,
    subjects: Entries,
    issuers: Entries,
    /// Issued before a moment, whoever issued them.
    everyone: Vec<Listed>,
    len: usize,
    last_number: u64,
}

impl Table {
    /// An empty one, whose numbers are none of the other's.
    pub(super) fn beside(other: &Self) -> Self {
        Self { last_number: other.last_number, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the token is revoked by, in words for the audit log.
    pub(super) fn find(&self, token: &TokenIdentity<'_>, now: SystemTime) -> Option<&'static str> {
        if self.is_empty() {
            return None;
        }
        let holds = |listed: &Listed| is_meant(&listed.revocation, token, now);
        let any = |entries: &Entries, name: Option<&str>| {
            name.and_then(|name| entries.get(name)).is_some_and(|entries| entries.iter().any(holds))
        };
        if any(&self.tokens, token.token_id) {
            Some("by its id")
        } else if any(&self.subjects, Some(token.subject)) {
            Some("by its subject")
        } else if any(&self.issuers, token.issuer) {
            Some("by its issuer")
        } else if self.everyone.iter().any(holds) {
            Some("by its moment of issue")
        } else {
            None
        }
    }

    fn entries(&self, revocation: &Revocation) -> &[Listed] {
        let found = match (revocation.target(), revocation.issuer()) {
            (Target::Token(id), _) => self.tokens.get(id.as_str()),
            (Target::Subject(name), _) => self.subjects.get(name.as_str()),
            (Target::All, Some(issuer)) => self.issuers.get(issuer),
            (Target::All, None) => Some(&self.everyone),
        };
        found.map_or(&[], Vec::as_slice)
    }

    fn entries_mut(&mut self, revocation: &Revocation) -> &mut Vec<Listed> {
        match (revocation.target(), revocation.issuer()) {
            (Target::Token(id), _) => self.tokens.entry(id.as_str().into()).or_default(),
            (Target::Subject(name), _) => self.subjects.entry(name.as_str().into()).or_default(),
            (Target::All, Some(issuer)) => self.issuers.entry(issuer.into()).or_default(),
            (Target::All, None) => &mut self.everyone,
        }
    }

    pub(super) fn number_of(&self, revocation: &Revocation) -> Option<u64> {
        self.entries(revocation)
            .iter()
            .find(|listed| listed.revocation.is_alike(revocation))
            .map(|listed| listed.number)
    }

    /// Adds an entry, or prolongs the one that there is; gives its number.
    pub(super) fn put(&mut self, revocation: Revocation, since: Option<SystemTime>, kept: Kept) -> u64 {
        let number = self.last_number + 1;
        self.put_as(Listed { number, revocation, since, kept })
    }

    fn put_as(&mut self, new: Listed) -> u64 {
        let number = new.number;
        let entries = self.entries_mut(&new.revocation);
        if let Some(listed) = entries.iter_mut().find(|listed| listed.revocation.is_alike(&new.revocation)) {
            listed.revocation.prolong(&new.revocation);
            if new.kept == Kept::File {
                listed.kept = Kept::File;
            }
            return listed.number;
        }
        entries.push(new);
        self.last_number = self.last_number.max(number);
        self.len += 1;
        number
    }

    pub(super) fn remove(&mut self, revocation: &Revocation) {
        self.retain(|listed| !listed.revocation.is_alike(revocation));
    }

    pub(super) fn forget_expired(&mut self, now: SystemTime) {
        self.retain(|listed| !listed.revocation.has_expired(now));
    }

    fn retain(&mut self, keep: impl Fn(&Listed) -> bool) {
        for entries in [&mut self.tokens, &mut self.subjects, &mut self.issuers] {
            entries.retain(|_, entries| {
                entries.retain(&keep);
                !entries.is_empty()
            });
        }
        self.everyone.retain(&keep);
        self.len = self.iter().count();
    }

    fn iter(&self) -> impl Iterator<Item = &Listed> {
        let named = [&self.tokens, &self.subjects, &self.issuers].into_iter().flat_map(HashMap::values).flatten();
        named.chain(&self.everyone)
    }

    pub(super) fn list(&self, now: SystemTime) -> Vec<Listed> {
        let mut list: Vec<_> = self.iter().filter(|listed| !listed.revocation.has_expired(now)).cloned().collect();
        list.sort_by_key(|listed| listed.number);
        list
    }

    /// Puts the lines of a file in place of those that it had before. What is known only here stays, and so do numbers.
    /// Gives how many entries there are. On an error nothing changes.
    pub(super) fn replace(&mut self, lines: Vec<Line>, limit: usize) -> Result<usize, FileProblem> {
        let now = SystemTime::now();
        // Numbers that were given stay, and are not given again.
        let mut next = Self::beside(self);
        for Line { revocation, revoked_at: since, withdrawn } in lines {
            if withdrawn {
                next.remove_one(&revocation);
            } else if !revocation.has_expired(now) {
                let number = self.number_of(&revocation).unwrap_or(next.last_number + 1);
                next.put_as(Listed { number, revocation, since, kept: Kept::File });
            }
        }
        if next.len > limit {
            return Err(FileProblem::TooMany { entries: next.len, limit });
        }
        next.inherit(self, true);
        let entries = next.len;
        *self = next;
        Ok(entries)
    }

    /// As [`remove`](Self::remove), without a walk through all entries.
    fn remove_one(&mut self, revocation: &Revocation) {
        let entries = self.entries_mut(revocation);
        let before = entries.len();
        entries.retain(|listed| !listed.revocation.is_alike(revocation));
        self.len -= before - self.entries(revocation).len();
    }

    /// Takes over what another table has: what is in its file only where that is another file.
    pub(super) fn inherit(&mut self, other: &Self, same_file: bool) {
        for listed in other.iter().filter(|listed| !same_file || listed.kept == Kept::Memory) {
            if self.number_of(&listed.revocation).is_none() {
                self.put_as(Listed { kept: Kept::Memory, ..listed.clone() });
            }
        }
    }
}

fn is_meant(revocation: &Revocation, token: &TokenIdentity<'_>, now: SystemTime) -> bool {
    let named = match revocation.target() {
        Target::Token(id) => token.token_id == Some(id.as_str()),
        Target::Subject(name) => token.subject == name,
        Target::All => true,
    };
    let issuer = revocation.issuer().is_none_or(|issuer| token.issuer == Some(issuer));
    // A token that does not say when it was issued may be older than any moment.
    let early = revocation.issued_before().is_none_or(|moment| token.issued_at.is_none_or(|issued| issued < moment));
    named && issuer && early && !revocation.has_expired(now)
}
