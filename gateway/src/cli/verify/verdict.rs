//! What is said of a token, and how it is written.

use pgdog_jwt::{AuthDecision, Check, DenyReason, Explanation, Step};
use serde_json::{Value, json};

use crate::frontend::rehearsal::{Admitted, Refusal};

/// What came of one token.
pub(super) struct Verdict {
    signature: &'static str,
    /// The checks of the claims that failed.
    failed: Vec<(Check, DenyReason)>,
    /// The reason and its text, where the login is refused.
    refusal: Option<(&'static str, String)>,
}

impl Verdict {
    /// As far as the token itself decides.
    pub(super) fn of_token(examined: Explanation) -> Self {
        let refusal = match examined.decision {
            AuthDecision::Allow(_) => None,
            AuthDecision::Deny(reason) => Some((reason.code(), reason.to_string())),
            AuthDecision::Skip => Some(("not_a_token_user", "users of this name do not log in by token".to_owned())),
        };
        Self { signature: signature(&examined.steps), failed: failed(&examined.steps), refusal }
    }

    /// With all that a configuration says.
    pub(super) fn of_login(examined: &[Step], outcome: Result<Admitted, Refusal>) -> Self {
        let refusal = outcome.err().map(|refusal| (refusal.reason, refusal.detail));
        Self { signature: signature(examined), failed: failed(examined), refusal }
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.refusal.is_none()
    }

    /// One line.
    pub(super) fn json(&self) -> Value {
        let mut codes: Vec<&str> = self.failed.iter().map(|(_, reason)| reason.code()).collect();
        codes.dedup();
        let claims = if codes.is_empty() { json!("accepted") } else { json!(codes) };
        let mut object = json!({ "signature": self.signature, "claims": claims });
        if !self.failed.is_empty() {
            let text = |(check, reason): &(Check, DenyReason)| format!("{}: {reason}", check.label());
            object["details"] = self.failed.iter().map(text).collect();
        }
        object["decision"] = json!(if self.is_allowed() { "allow" } else { "deny" });
        if let Some((reason, text)) = &self.refusal {
            object["reason"] = json!(reason);
            object["text"] = json!(text);
        }
        object
    }
}

fn signature(steps: &[Step]) -> &'static str {
    let unsupported =
        |step: &Step| matches!(step.outcome, Err(DenyReason::UnsupportedHeader(_) | DenyReason::AlgorithmNotAllowed));
    if steps.iter().any(|step| step.check == Check::Signature && step.outcome.is_ok()) {
        "valid"
    } else if steps.iter().any(unsupported) {
        "unsupported"
    } else {
        "invalid"
    }
}

/// Without the checks of the signature. What is no token has no claims that could be accepted.
fn failed(steps: &[Step]) -> Vec<(Check, DenyReason)> {
    let of_signature = |check| matches!(check, Check::Algorithm | Check::Key | Check::Signature);
    let failure = |step: &Step| Some((step.check, step.outcome.clone().err()?));
    steps.iter().filter(|step| !of_signature(step.check)).filter_map(failure).collect()
}
