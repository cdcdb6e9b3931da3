//! The server's side of a SCRAM-SHA-256 exchange (RFC 5802, RFC 7677), without I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::MethodError;
use super::verifier::{KEY_SIZE, Verifier, sha256, sign};

/// The client's first message.
pub(super) struct ClientFirst<'a> {
    /// `n,,` or `y,,`, which the client must repeat under its proof.
    binding: &'a str,
    bare: &'a str,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// The user's name inside is not read: PostgreSQL takes the one of the start-up packet, and libpq sends none.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, MethodError> {
        const MALFORMED: MethodError = MethodError::Protocol("malformed SCRAM message");
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        let Some((binding, bare)) = message.split_at_checked(3) else {
            return Err(MALFORMED);
        };
        match binding {
            "n,," | "y,," => {}
            _ if binding.starts_with('p') => {
                return Err(MethodError::Protocol("client asks for SCRAM channel binding, which is not offered"));
            }
            "n,a" | "y,a" => {
                return Err(MethodError::Protocol("client uses authorization identity, but it is not supported"));
            }
            _ => return Err(MALFORMED),
        }
        let mut attributes = bare.split(',');
        if !attributes.next().is_some_and(|name| name.starts_with("n=")) {
            return Err(MALFORMED);
        }
        let nonce = attributes
            .next()
            .and_then(|nonce| nonce.strip_prefix("r="))
            .filter(|nonce| !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or(MALFORMED)?;
        Ok(Self { binding, bare, nonce })
    }
}

/// An exchange that waits for the client's proof.
pub(super) struct Challenge {
    /// What the proof is made over, as far as it is known.
    transcript: String,
    message: String,
    /// How the client's last message must begin.
    expected: String,
}

impl Challenge {
    pub(super) fn new(first: ClientFirst<'_>, nonce: &str, verifier: &Verifier) -> Self {
        let nonce = format!("{}{nonce}", first.nonce);
        let message = format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        Self {
            transcript: format!("{},{message}", first.bare),
            expected: format!("c={},r={nonce}", STANDARD.encode(first.binding)),
            message,
        }
    }

    /// The server's first message.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Checks the client's last message against every verifier, and gives the server's last message when one holds.
    /// The time it takes does not depend on which.
    pub(super) fn verify(&self, message: &[u8], verifiers: &[Verifier]) -> Result<Option<String>, MethodError> {
        const MALFORMED: MethodError = MethodError::Protocol("malformed SCRAM message");
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        let (unproved, proof) = message.rsplit_once(",p=").ok_or(MALFORMED)?;
        let rest = unproved.strip_prefix(&self.expected).ok_or(MALFORMED)?;
        // Extensions may follow, and are ignored.
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(MALFORMED);
        }
        let proof: [u8; KEY_SIZE] =
            STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or(MALFORMED)?;

        let transcript = format!("{},{unproved}", self.transcript);
        let mut accepted = Choice::from(0);
        let mut server_key = [0u8; KEY_SIZE];
        for verifier in verifiers {
            let signature = sign(&verifier.stored_key, transcript.as_bytes());
            let mut client_key = proof;
            for (key, byte) in client_key.iter_mut().zip(signature) {
                *key ^= byte;
            }
            let holds = sha256(&client_key).ct_eq(&verifier.stored_key);
            for (chosen, byte) in server_key.iter_mut().zip(&verifier.server_key) {
                chosen.conditional_assign(byte, holds);
            }
            accepted |= holds;
        }
        let signature = sign(&server_key, transcript.as_bytes());
        Ok(bool::from(accepted).then(|| format!("v={}", STANDARD.encode(signature))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn rfc_7677() -> (Challenge, Verifier) {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::unsatisfiable(salt).derive_alike(b"pencil");
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let challenge = Challenge::new(first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", &verifier);
        (challenge, verifier)
    }

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_exchange_of_the_rfc_comes_out() {
        let (challenge, verifier) = rfc_7677();
        assert_eq!(challenge.message(), format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let last = format!("c=biws,r={NONCE},p={PROOF}");
        let other = verifier.derive_alike(b"crayon");
        for verifiers in [vec![verifier.clone()], vec![other, verifier]] {
            assert_eq!(
                challenge.verify(last.as_bytes(), &verifiers).unwrap(),
                Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned())
            );
        }
    }

    #[test]
    fn anything_else_does_not() {
        let (challenge, verifier) = rfc_7677();
        let wrong = [verifier.derive_alike(b"crayon")];
        let last = format!("c=biws,r={NONCE},p={PROOF}");
        assert_eq!(challenge.verify(last.as_bytes(), &wrong).unwrap(), None);
        for last in [
            format!("c=eSws,r={NONCE},p={PROOF}"),
            format!("c=biws,r={NONCE}x,p={PROOF}"),
            format!("c=biws,r={NONCE},p=AAAA"),
            format!("c=biws,r={NONCE}"),
            String::new(),
        ] {
            assert!(challenge.verify(last.as_bytes(), &wrong).is_err(), "{last}");
        }
    }

    #[test]
    fn first_messages_are_held_to_the_grammar() {
        for good in ["n,,n=,r=abc", "y,,n=alice,r=abc,x=later"] {
            assert!(ClientFirst::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "n",
            "n,,",
            "n,,n=",
            "n,,n=,r=",
            "n,,n=,r=a b",
            "p=tls-server-end-point,,n=,r=a",
            "n,a=bob,n=,r=abc",
            "n,,m=x,n=,r=abc",
            "x,,n=,r=abc",
            "n,,r=abc",
            "é,,n=,r=abc",
        ] {
            assert!(ClientFirst::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
