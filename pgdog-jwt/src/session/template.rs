//! Templates over claims: text with `{path}`, `{path|csv}` and `{path|json}` in it; `{|json}` is the whole of the claims.

use std::fmt;

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::deny::DenyReason;

/// Why a claim cannot be written.
const UNWRITABLE: &str =
    "it must be a string, a number or a boolean; with \"csv\" a list of them, without commas, quotes and line ends";

/// A template, parsed once.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Claim { path: String, form: Form },
}

/// How a claim becomes text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A string as it is; a number or a boolean as JSON writes it.
    Plain,
    /// A list of such, joined by commas.
    Csv,
    /// Anything, as JSON.
    Json,
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Claim { path, form: Form::Plain } => write!(f, "{{{path}}}")?,
                Part::Claim { path, form: Form::Csv } => write!(f, "{{{path}|csv}}")?,
                Part::Claim { path, form: Form::Json } => write!(f, "{{{path}|json}}")?,
            }
        }
        Ok(())
    }
}

impl Template {
    /// Parses `"{tenant_id}"` and the like; `{{` and `}}` stand for the braces themselves.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            plain.push_str(before);
            if let Some(behind) = found.strip_prefix("{{").or_else(|| found.strip_prefix("}}")) {
                plain.push_str(&found[..1]);
                rest = behind;
                continue;
            }
            let inside =
                found.strip_prefix('{').ok_or("has a \"}\" without its \"{\"; write \"}}\" for the character")?;
            let (claim, behind) =
                inside.split_once('}').ok_or("has a \"{\" without its \"}\"; write \"{{\" for the character")?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(parse_claim(claim)?);
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The text for these claims; `None` when one that it names is missing, or `null`.
    ///
    /// # Errors
    /// A claim of a kind that the template cannot write.
    pub(crate) fn fill(&self, claims: &Claims) -> Result<Option<String>, DenyReason> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Claim { path, form: Form::Json } if path.is_empty() => {
                    text.push_str(&Value::Object(claims.clone()).to_string());
                }
                Part::Claim { path, form } => match claims::find(claims, path) {
                    None | Some(Value::Null) => return Ok(None),
                    Some(value) => {
                        write(value, *form, &mut text)
                            .ok_or_else(|| DenyReason::InvalidClaim(path.clone(), UNWRITABLE))?;
                    }
                },
            }
        }
        Ok(Some(text))
    }
}

fn parse_claim(text: &str) -> Result<Part, &'static str> {
    let (path, form) = match text.rsplit_once('|') {
        Some((path, "csv")) => (path, Form::Csv),
        Some((path, "json")) => (path, Form::Json),
        Some(_) => return Err("has a form other than \"csv\" and \"json\" behind \"|\""),
        None => (text, Form::Plain),
    };
    if path.is_empty() && form != Form::Json {
        return Err("names no claim between its braces");
    }
    Ok(Part::Claim { path: path.to_owned(), form })
}

fn write(value: &Value, form: Form, text: &mut String) -> Option<()> {
    match form {
        Form::Plain => text.push_str(&scalar(value)?),
        Form::Json => text.push_str(&value.to_string()),
        Form::Csv => {
            let one;
            let list = match value {
                Value::Array(list) => list.as_slice(),
                other => {
                    one = [other.clone()];
                    &one
                }
            };
            for (number, element) in list.iter().enumerate() {
                let element = scalar(element)?;
                // Whoever splits the text again must not find an element that the issuer did not give.
                if element.contains([',', '"', '\n', '\r']) {
                    return None;
                }
                if number > 0 {
                    text.push(',');
                }
                text.push_str(&element);
            }
        }
    }
    Some(())
}

/// A value that is one word of text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_object;

    const CLAIMS: &str = r#"{"sub":"alice","tenant_id":42,"ok":true,"none":null,
        "realm_access":{"roles":["a","b"]},"odd":["a,b"],"deep":[["x"]],"empty":[]}"#;

    fn fill(template: &str) -> Result<Option<String>, DenyReason> {
        Template::parse(template).unwrap().fill(&parse_object(CLAIMS.as_bytes()).unwrap())
    }

    #[test]
    fn claims_become_text() {
        for (template, text) in [
            ("{sub}", "alice"),
            ("{tenant_id}", "42"),
            ("t-{tenant_id}/{sub}", "t-42/alice"),
            ("{ok}", "true"),
            ("{realm_access.roles|csv}", "a,b"),
            ("{empty|csv}", ""),
            ("{sub|csv}", "alice"),
            ("{realm_access|json}", r#"{"roles":["a","b"]}"#),
            ("{{{sub}}}", "{alice}"),
            ("fixed", "fixed"),
            ("", ""),
        ] {
            assert_eq!(fill(template).unwrap().as_deref(), Some(text), "{template}");
        }
        let all = fill("{|json}").unwrap().unwrap();
        assert_eq!(parse_object(all.as_bytes()).unwrap(), parse_object(CLAIMS.as_bytes()).unwrap());
    }

    #[test]
    fn a_missing_claim_gives_no_text() {
        for template in ["{nobody}", "{none}", "x{realm_access.nobody|csv}", "{none|json}"] {
            assert_eq!(fill(template), Ok(None), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for template in ["{realm_access}", "{realm_access.roles}", "{odd|csv}", "{deep|csv}"] {
            assert!(fill(template).is_err(), "{template}");
        }
    }

    #[test]
    fn a_template_prints_as_it_was_written() {
        for text in ["{tenant}", "a{{b}}-{org.id|csv}{|json}", "plain"] {
            assert_eq!(Template::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_templates_are_refused() {
        for template in ["{", "}", "{sub", "sub}", "{}", "{|csv}", "{sub|xml}", "{sub}}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
