//! REVOKE and UNREVOKE: tokens that are no good any more although nothing in them says so.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pgdog_jwt::revocation::{Kept, Revocation, Revocations, RevokeError, Target, parse_moment};

use super::command::{Command, NotACommand, Word};
use super::run::Outcome;
use super::table::{Kind, Table, Value};
use crate::app::state::App;
use crate::audit::{Event, Record, Who};
use crate::frontend::sessions::Registration;
use crate::wire::PgError;

/// What the administrator says of the tokens that are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whom {
    token: Option<String>,
    subject: Option<String>,
    issuer: Option<String>,
    before: Option<Before>,
    until: Option<SystemTime>,
}

/// A moment of issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// When the command runs.
    Now,
    At(SystemTime),
}

/// Which entry is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    /// By its number in SHOW REVOCATIONS.
    Number(u64),
    /// The one for exactly these tokens.
    Whom(Whom),
}

/// Reads what follows REVOKE or UNREVOKE; `None` for another command.
pub(super) fn parse(words: &[Word]) -> Option<Result<Command, NotACommand>> {
    let (first, rest) = words.split_first()?;
    if first.is("REVOKE") {
        return Some(whom(rest).map(Command::Revoke));
    }
    if !first.is("UNREVOKE") {
        return None;
    }
    let number = match rest {
        [word] if !word.quoted => word.text.parse().ok(),
        _ => None,
    };
    Some(match number {
        Some(number) => Ok(Command::Unrevoke(Which::Number(number))),
        None => whom(rest).map(|whom| Command::Unrevoke(Which::Whom(whom))),
    })
}

fn whom(mut words: &[Word]) -> Result<Whom, NotACommand> {
    let mut whom = Whom::default();
    while let [keyword, rest @ ..] = words {
        let (known, rest) = match rest {
            [value, rest @ ..] if keyword.is("TOKEN") => (put(&mut whom.token, value.text.clone()), rest),
            [value, rest @ ..] if keyword.is("SUBJECT") => (put(&mut whom.subject, value.text.clone()), rest),
            [value, rest @ ..] if keyword.is("ISSUER") => (put(&mut whom.issuer, value.text.clone()), rest),
            [value, rest @ ..] if keyword.is("UNTIL") => (put(&mut whom.until, moment(value)?), rest),
            [before, value, rest @ ..] if keyword.is("ISSUED") && before.is("BEFORE") => {
                let moment = if value.is("NOW") { Before::Now } else { Before::At(moment(value)?) };
                (put(&mut whom.before, moment), rest)
            }
            _ => (false, rest),
        };
        if !known {
            return Err(usage());
        }
        words = rest;
    }
    if whom == Whom::default() { Err(usage()) } else { Ok(whom) }
}

/// Each word once.
fn put<T>(place: &mut Option<T>, value: T) -> bool {
    place.replace(value).is_none()
}

fn moment(word: &Word) -> Result<SystemTime, NotACommand> {
    let form = "a moment is written as '2026-01-31T12:00:00Z' or '2026-01-31 12:00:00+00'";
    parse_moment(&word.text).ok_or_else(|| NotACommand(form.to_owned()))
}

fn usage() -> NotACommand {
    let what = "TOKEN '…', SUBJECT '…', ISSUER '…', ISSUED BEFORE '…' or NOW, and UNTIL '…', each at most once";
    NotACommand(format!("REVOKE and UNREVOKE take {what}"))
}

impl Whom {
    /// `longest_life`: how long a token of an issuer may still be good, as far as that is known. `leeway`: for how long a
    /// token may be good that has expired.
    fn revocation(
        &self,
        longest_life: impl Fn(Option<&str>) -> Option<Duration>,
        leeway: Duration,
    ) -> Result<Revocation, PgError> {
        let invalid = |text: String| PgError::error("22023", text);
        let now = SystemTime::now();
        let before = match self.before {
            Some(Before::At(moment)) if moment > now => {
                return Err(invalid("the moment of issue is in the future".to_owned()));
            }
            Some(Before::At(moment)) => Some(moment),
            Some(Before::Now) => Some(now),
            None => None,
        };
        if self.until.is_some_and(|until| until.checked_add(leeway).is_some_and(|end| end <= now)) {
            return Err(invalid("the end of the revocation has passed".to_owned()));
        }
        let target = match (&self.token, &self.subject) {
            (Some(_), Some(_)) => return Err(invalid("a token id and a subject do not go together".to_owned())),
            (Some(id), None) => Target::Token(id.clone()),
            (None, Some(name)) => Target::Subject(name.clone()),
            (None, None) => Target::All,
        };
        let until = match target {
            // When no such token can be good any more, the list need not have it.
            Target::Token(_) => self.until.or_else(|| now.checked_add(longest_life(self.issuer.as_deref())?)),
            _ => self.until,
        };
        Revocation::new(target, self.issuer.clone(), before, until).map_err(|error| invalid(error.to_string()))
    }
}

fn list(app: &App) -> Result<Arc<Revocations>, PgError> {
    app.revocations().ok_or_else(|| PgError::error("55000", "tokens are not accepted here: see auth_type"))
}

/// Revokes, ends the sessions that this concerns, and says how many there were.
pub(super) async fn revoke(app: &'static App, who: &Registration, whom: &Whom) -> Result<Outcome, PgError> {
    let state = app.state();
    let life = |issuer: Option<&str>| state.authenticator.as_ref()?.longest_life(issuer);
    let revocation = whom.revocation(life, list(app)?.leeway())?;
    let wanted = revocation.clone();
    // The disk is waited for where no client is.
    let done = tokio::task::spawn_blocking(move || app.revoke(revocation)).await;
    let (outcome, sessions) = done.map_err(|_| failed())??;
    if matches!(outcome, Ok(_) | Err(RevokeError::NotStored(_))) {
        note(who, &wanted, |event| event.because("revoked"));
    }
    let mut answer = Outcome::tag(&format!("REVOKE {sessions}"));
    match outcome {
        Ok(_) => answer.notices.extend(in_memory(&*list(app)?)),
        Err(error @ RevokeError::NotStored(_)) => {
            return Err(PgError::error("58030", error.to_string())
                .detail(format!("{sessions} sessions were ended. After a restart the tokens are good again."))
                .hint("See to the revocation file, then REVOKE once more."));
        }
        Err(error) => {
            return Err(PgError::error("53400", error.to_string())
                .hint("UNREVOKE what is not needed, or raise max_revocations."));
        }
    }
    Ok(answer)
}

/// Ends a revocation.
pub(super) async fn unrevoke(app: &'static App, who: &Registration, which: &Which) -> Result<Outcome, PgError> {
    let none = || PgError::error("42704", "there is no such revocation").hint("SHOW REVOCATIONS lists what there is.");
    let list = list(app)?;
    let number = match which {
        Which::Number(number) => *number,
        Which::Whom(whom) => list.number_of(&whom.revocation(|_| None, list.leeway())?).ok_or_else(none)?,
    };
    let found = list.list().into_iter().find(|listed| listed.number == number).ok_or_else(none)?;
    let done = tokio::task::spawn_blocking(move || app.withdraw(number)).await;
    match done.map_err(|_| failed())?? {
        Ok(()) => {
            note(who, &found.revocation, |event| event.because("withdrawn"));
            Ok(Outcome::tag("UNREVOKE"))
        }
        Err(RevokeError::NotFound) => Err(none()),
        Err(error) => Err(PgError::error("58030", error.to_string()).hint("See to the revocation file.")),
    }
}

impl From<crate::app::state::NoTokens> for PgError {
    fn from(_: crate::app::state::NoTokens) -> Self {
        Self::error("55000", "tokens are not accepted here: see auth_type")
    }
}

fn failed() -> PgError {
    PgError::error("XX000", "the command did not come to its end")
}

/// One event for each, with who gave the command.
fn note(who: &Registration, revocation: &Revocation, what: impl FnOnce(Record<'_>) -> Record<'_>) {
    let about = &who.meter.card().about;
    let (token_id, subject) = match revocation.target() {
        Target::Token(id) => (Some(id.as_str()), None),
        Target::Subject(name) => (None, Some(name.as_str())),
        Target::All => (None, None),
    };
    let issued_before = revocation.issued_before().and_then(|moment| Value::Time(moment).as_text());
    let detail = issued_before.map(|moment| format!("issued before {moment}"));
    let token_id = token_id.map(Cow::Borrowed);
    let whom =
        Who { token_id, subject, issuer: revocation.issuer(), client: Some(about.client().into()), ..Who::default() };
    what(Record::new(Event::Revocation, whom)).by(&about.user).detail(detail.as_deref()).send();
}

/// What the administrator should know of where the list is kept.
pub(super) fn in_memory(list: &Revocations) -> Option<String> {
    match (list.path(), list.problem()) {
        (None, _) => Some("kept in memory only, until the process ends: set revocation_file in [jwt]".to_owned()),
        (Some(path), Some(problem)) => {
            Some(format!("the file {} cannot be used as it is, what it said before holds: {problem}", path.display()))
        }
        (Some(_), None) => None,
    }
}

/// SHOW REVOCATIONS.
pub(super) fn show(app: &App) -> Table {
    let mut table = Table::new(&[
        ("id", Kind::Int),
        ("token_id", Kind::Text),
        ("subject", Kind::Text),
        ("issuer", Kind::Text),
        ("issued_before", Kind::Time),
        ("revoked_at", Kind::Time),
        ("expires_at", Kind::Time),
        ("kept", Kind::Text),
    ]);
    for listed in app.revocations().iter().flat_map(|list| list.list()) {
        let (token_id, subject) = match listed.revocation.target() {
            Target::Token(id) => (Some(id.as_str()), None),
            Target::Subject(name) => (None, Some(name.as_str())),
            Target::All => (None, None),
        };
        table.push(vec![
            Value::int(listed.number),
            Value::maybe(token_id),
            Value::maybe(subject),
            Value::maybe(listed.revocation.issuer()),
            Value::time(listed.revocation.issued_before()),
            Value::time(listed.since),
            Value::time(listed.revocation.expires_at()),
            Value::text(kept(listed.kept)),
        ]);
    }
    table
}

/// Where an entry is kept, in a word.
fn kept(kept: Kept) -> &'static str {
    match kept {
        Kept::File => "file",
        Kept::Memory => "memory",
        Kept::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::statements;
    use super::*;

    fn one(text: &str) -> Result<Command, NotACommand> {
        parse(&statements(text)[0]).unwrap()
    }

    fn named(text: &str) -> Whom {
        match one(text) {
            Ok(Command::Revoke(whom)) => whom,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_words_may_come_in_any_order_and_case() {
        let whom = named("revoke Subject 'al''ice' issuer \"https://a.example/\" issued before NOW;");
        assert_eq!(whom.subject.as_deref(), Some("al'ice"));
        assert_eq!(whom.issuer.as_deref(), Some("https://a.example/"));
        assert_eq!(whom.before, Some(Before::Now));
        assert_eq!(named("REVOKE ISSUED BEFORE '2026-01-31 12:00:00+00' ISSUER 'x'").before, {
            parse_moment("2026-01-31T12:00:00Z").map(Before::At)
        });
        assert_eq!(named("REVOKE TOKEN 7").token.as_deref(), Some("7"));
        assert!(named("REVOKE TOKEN '7' UNTIL '2100-01-01'").until.is_some());
        assert_eq!(one("UNREVOKE 12"), Ok(Command::Unrevoke(Which::Number(12))));
        assert!(matches!(one("UNREVOKE TOKEN '12'"), Ok(Command::Unrevoke(Which::Whom(_)))));
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for text in [
            "REVOKE",
            "REVOKE alice",
            "REVOKE SUBJECT",
            "REVOKE 'SUBJECT' alice",
            "REVOKE SELECT ON notes FROM alice",
            "REVOKE SUBJECT a SUBJECT b",
            "REVOKE ISSUED BEFORE tomorrow",
            "REVOKE ISSUED BEFORE 'NOW'",
            "REVOKE SUBJECT a ISSUED",
            "UNREVOKE",
            "UNREVOKE -1",
            "UNREVOKE '7'",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
        assert!(parse(&statements("RELOAD")[0]).is_none());
    }

    #[test]
    fn a_slip_of_the_hand_revokes_nothing() {
        for text in [
            "REVOKE TOKEN 'a' SUBJECT 'b'",
            "REVOKE TOKEN 'a' ISSUED BEFORE NOW",
            "REVOKE ISSUED BEFORE '2100-01-01'",
            "REVOKE SUBJECT 'a' UNTIL '2000-01-01'",
            "REVOKE SUBJECT ''",
            "REVOKE UNTIL '2100-01-01'",
        ] {
            assert!(named(text).revocation(|_| None, Duration::ZERO).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_that_has_expired_may_be_revoked_while_the_leeway_takes_it() {
        let text = "REVOKE TOKEN 'a' UNTIL '2000-01-01'";
        let years = Duration::from_secs(100 * 365 * 24 * 3_600);
        assert_eq!(named(text).revocation(|_| None, years).unwrap().expires_at(), parse_moment("2000-01-01"));
        assert!(named(text).revocation(|_| None, Duration::MAX).is_ok());
        assert!(named(text).revocation(|_| None, Duration::from_secs(3_600)).is_err());
    }

    #[test]
    fn a_token_id_is_kept_no_longer_than_its_token_can_be_good() {
        let hour = Duration::from_secs(3_600);
        let until = |text: &str| named(text).revocation(|_| Some(hour), Duration::ZERO).unwrap().expires_at();
        let now = SystemTime::now();
        assert!(until("REVOKE TOKEN 'a'").is_some_and(|until| until >= now + hour && until < now + 2 * hour));
        assert_eq!(until("REVOKE TOKEN 'a' UNTIL '2100-01-01'"), parse_moment("2100-01-01"));
        assert_eq!(until("REVOKE SUBJECT 'a'"), None);
        assert_eq!(named("REVOKE TOKEN 'a'").revocation(|_| None, Duration::ZERO).unwrap().expires_at(), None);
    }
}
