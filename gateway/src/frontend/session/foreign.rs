//! Code that is not PostgreSQL's own: whether a request may run some, so that its server is cleaned before it serves another
//! session.

use pgdog_jwt_guard::Code;

use super::Session;
use crate::app::worker;
use crate::backend::verdicts::Verdict;

impl Session {
    /// Notes what code a statement may run on the server that is held: when it is run, and before, when PostgreSQL looks at
    /// its constants (a domain's may be checked by a function).
    #[inline]
    pub(super) fn note_code(&mut self, code: Code, text: &impl Fn(&Self) -> Vec<u8>) {
        if code.may_be_foreign() {
            self.judge_code(code, text);
        }
    }

    fn judge_code(&mut self, code: Code, text: &impl Fn(&Self) -> Vec<u8>) {
        let Some(server) = &mut self.server else { return };
        if !self.rules.notes_foreign || server.is_foreign() {
            return;
        }
        match self.pools.cluster.catalogue.verdict(code) {
            Verdict::Plain => {}
            Verdict::Foreign => server.note_foreign(),
            Verdict::Unknown => {
                server.note_foreign();
                self.pools.cluster.catalogue.want(&self.pools);
            }
            Verdict::Forgotten => self.read_again(text),
        }
    }

    /// The same where it was forgotten by which names that is decided.
    #[cold]
    fn read_again(&mut self, text: &impl Fn(&Self) -> Vec<u8>) {
        let text = text(self);
        let code = worker::with_classifier(&self.generation, self.rules.watch, |it| it.code_anew(&text));
        let verdict = match code.may_be_foreign() {
            true => self.pools.cluster.catalogue.verdict(code),
            false => Verdict::Plain,
        };
        if verdict != Verdict::Plain
            && let Some(server) = &mut self.server
        {
            server.note_foreign();
        }
    }

    /// A statement is bound or described whose name is the server's own: another session may have prepared it, or this one when its
    /// tables were others.
    #[inline]
    pub(super) fn note_unseen_statement(&mut self) {
        if self.rules.notes_foreign
            && !self.rules.follows_statements
            && let Some(server) = &mut self.server
        {
            server.note_foreign();
        }
    }
}
