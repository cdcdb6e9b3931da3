//! The entries, to be found by what a token says of itself: at most four look-ups for each token, however many there are.

use std::collections::HashMap;
use std::time::SystemTime;

use super::entry::{Kept, Listed, Revocation, Target, TokenIdentity};
use super::file::{FileProblem, Lines};
use super::line::Line;

type Entries = HashMap<Box<str>, Vec<Listed>>;

#[derive(Default, Clone)]
pub(super) struct Table {
    tokens: Entries,
    subjects: Entries,
    issuers: Entries,
    /// Issued before a moment, whoever issued them.
    everyone: Vec<Listed>,
    /// How often the file withdraws the entry for these tokens, when it was last taken as it was.
    withdrawals: HashMap<Revocation, usize>,
    len: usize,
    last_number: u64,
}

/// What became of a new version of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    /// Entries that there are.
    pub(super) entries: usize,
    /// Those of them that the file has lost.
    pub(super) lost: usize,
}

impl Replaced {
    /// How many entries there are, where the file has lost none.
    pub(super) fn entries(self) -> Result<usize, FileProblem> {
        match self.lost {
            0 => Ok(self.entries),
            lost => Err(FileProblem::Lost(lost)),
        }
    }
}

/// Entries whose `expires_at` is not later than `ended`, in what follows, hold no more.
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
    pub(super) fn find(&self, token: &TokenIdentity<'_>, ended: SystemTime) -> Option<&'static str> {
        if self.is_empty() {
            return None;
        }
        let holds = |listed: &Listed| is_meant(&listed.revocation, token, ended);
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
        self.alike(revocation).map(|listed| listed.number)
    }

    /// The entry for exactly these tokens.
    fn alike(&self, revocation: &Revocation) -> Option<&Listed> {
        self.entries(revocation).iter().find(|listed| listed.revocation.is_alike(revocation))
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
            let is_longer = !listed.revocation.lasts_as_long_as(&new.revocation);
            let is_shorter = !new.revocation.lasts_as_long_as(&listed.revocation);
            // It is kept where the one is that holds longer.
            if is_longer || (!is_shorter && new.kept != Kept::Memory) {
                listed.kept = new.kept;
            }
            listed.revocation.prolong(&new.revocation);
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

    pub(super) fn forget_ended(&mut self, ended: SystemTime) {
        self.retain(|listed| !listed.revocation.has_ended(ended));
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

    /// How many entries the file has lost.
    pub(super) fn lost(&self) -> usize {
        self.iter().filter(|listed| listed.kept == Kept::Lost).count()
    }

    fn iter(&self) -> impl Iterator<Item = &Listed> {
        let named = [&self.tokens, &self.subjects, &self.issuers].into_iter().flat_map(HashMap::values).flatten();
        named.chain(&self.everyone)
    }

    pub(super) fn list(&self, ended: SystemTime) -> Vec<Listed> {
        let mut list: Vec<_> = self.iter().filter(|listed| !listed.revocation.has_ended(ended)).cloned().collect();
        list.sort_by_key(|listed| listed.number);
        list
    }

    /// Puts the lines of a file in place of those that it had before. What is known only here stays, and so do numbers. What
    /// a file that is not whole has lost without a word stays as well. On an error nothing changes.
    pub(super) fn replace(&mut self, lines: Lines, limit: usize, ended: SystemTime) -> Result<Replaced, FileProblem> {
        // Numbers that were given stay, and are not given again.
        let mut next = Self::beside(self);
        for Line { revocation, revoked_at: since, withdrawn } in lines.entries {
            if withdrawn {
                next.remove_one(&revocation);
                *next.withdrawals.entry(revocation.without_end()).or_default() += 1;
            } else if !revocation.has_ended(ended) {
                let number = self.number_of(&revocation).unwrap_or(next.last_number + 1);
                next.put_as(Listed { number, revocation, since, kept: Kept::File });
            }
        }
        let lost = if lines.is_whole { 0 } else { next.keep_lost(self, ended) };
        if next.len > limit {
            return Err(FileProblem::TooMany { entries: next.len, limit });
        }
        if lost > 0 {
            // The lines that came back may be the beginning of what there was.
            next.withdrawals.clone_from(&self.withdrawals);
        }
        next.inherit(self, true);
        let entries = next.len;
        *self = next;
        Ok(Replaced { entries, lost })
    }

    /// Keeps what `before` has from the file and this one has no more, or not for as long: all but that which lines have
    /// withdrawn since. Gives how many entries that are.
    fn keep_lost(&mut self, before: &Self, ended: SystemTime) -> usize {
        let was_in_file = |listed: &&Listed| listed.kept != Kept::Memory && !listed.revocation.has_ended(ended);
        let is_there = |revocation: &Revocation| {
            self.alike(revocation).is_some_and(|own| own.revocation.lasts_as_long_as(revocation))
        };
        let is_withdrawn = |revocation: &Revocation| {
            let tokens = revocation.without_end();
            let times = |table: &Self| table.withdrawals.get(&tokens).copied().unwrap_or(0);
            times(self) > times(before)
        };
        let lost = before.iter().filter(was_in_file).filter(|listed| {
            let revocation = &listed.revocation;
            !is_there(revocation) && !is_withdrawn(revocation)
        });
        let lost: Vec<_> = lost.map(|listed| Listed { kept: Kept::Lost, ..listed.clone() }).collect();
        let count = lost.len();
        for listed in lost {
            self.put_as(listed);
        }
        count
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
            self.put_as(Listed { kept: Kept::Memory, ..listed.clone() });
        }
    }
}

fn is_meant(revocation: &Revocation, token: &TokenIdentity<'_>, ended: SystemTime) -> bool {
    let named = match revocation.target() {
        Target::Token(id) => token.token_id == Some(id.as_str()),
        Target::Subject(name) => token.subject == name,
        Target::All => true,
    };
    let issuer = revocation.issuer().is_none_or(|issuer| token.issuer == Some(issuer));
    // A token that does not say when it was issued may be older than any moment.
    let early = revocation.issued_before().is_none_or(|moment| token.issued_at.is_none_or(|issued| issued < moment));
    named && issuer && early && !revocation.has_ended(ended)
}
