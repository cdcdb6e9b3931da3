//! What a host can honour. The core decides who a client is; much of `[jwt]` is about what becomes of its session, and there
//! the core can do nothing. A key that a host does not honour is an error, so that no file promises what nobody keeps (S12).

use super::keys::is_by_host;
use super::section::Section;

/// A host, and the settings that it honours.
///
/// A key that is not honoured keeps its default, and defaults are the host's to bring about as well: with
/// `allow_plaintext` not honoured, tokens still are taken over safe connections alone.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// What messages call it.
    pub name: &'static str,
    /// Section and key of the settings that it honours, of those that only a host can
    /// ([`Key::by_host`](method@super::Key::by_host)); `None`: all.
    pub honours: Option<&'static [(&'static str, &'static str)]>,
    /// Words that it does not take, by key, such as `("mode", "passthrough")` and `("guard", "standard")`.
    pub refuses: &'static [(&'static str, &'static str)],
}

impl Default for Host {
    /// A host that honours everything.
    fn default() -> Self {
        Self { name: "this host", honours: None, refuses: &[] }
    }
}

impl Host {
    /// Whether a key of a section can be there.
    pub(super) fn honours(&self, section: &str, key: &str) -> bool {
        self.honours.is_none_or(|honours| !is_by_host(section, key) || honours.contains(&(section, key)))
    }
}

impl Section<'_> {
    /// Whether the host can honour a key.
    pub(super) fn honours(&self, key: &str) -> bool {
        self.report.host.honours(self.label(), key)
    }

    /// Reports a word that the host does not take.
    pub(super) fn check_word(&self, key: &str, word: &str) {
        let host = &self.report.host;
        if host.refuses.contains(&(key, word)) {
            self.report.error(self.spot(key), format!("{} cannot honour \"{key}\" = \"{word}\"", host.name));
        }
    }
}
