//! `set_config($1, …)`: what is set is known when the parameters are, which is at Bind.
//!
//! That the text which PostgreSQL takes for the name is the parameter, byte for byte, depends on its type. A `name` is cut at 63
//! bytes, a `char` loses the blanks at its end, a type of the client's own may have a cast that makes anything of it. So a
//! parameter must be `text` or `varchar`, which PostgreSQL does not touch. Where the client leaves the type open, PostgreSQL takes it
//! from the place that it reads first, which need not be the call: such a parameter stands in no other place.

use crate::class::Refusal;
use crate::guard;
use crate::policy::{GuardMode, Policy};
use crate::refusal;
use crate::set_config::is_call;
use crate::tree::{Tree, Value};

/// Longest name of a setting in a parameter, in bytes. PostgreSQL has no limit for those of applications.
pub const MAX_PARAMETER_NAME: usize = 255;

/// Parameters with higher numbers do not name settings.
const MAX_NUMBER: u32 = u64::BITS;

/// `text` and `varchar` (`pg_type.dat`).
const TEXT: [u32; 2] = [25, 1043];

/// Types by which a Parse message leaves it to the server what a parameter is: none, and `unknown`.
const OPEN: [u32; 2] = [0, 705];

/// The parameters of a statement that name settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByParameter {
    /// By their numbers, from 1.
    names: u64,
    /// Those of them that stand in other places too.
    elsewhere: u64,
}

impl ByParameter {
    /// Of a text that is one statement of this kind. Parses it.
    pub fn of_text(parser: &dyn crate::parser::Parser, sql: &[u8]) -> Option<Self> {
        match crate::parser::parse(parser, sql)?.as_slice() {
            [statement] => Self::of(statement),
            _ => None,
        }
    }

    /// `None`: a parameter names nothing, or the statement is another one than those whose parameters are a Bind's. Those of `PREPARE`
    /// are its own, those in the body of a function are the function's.
    pub(crate) fn of(statement: &Tree) -> Option<Self> {
        if !matches!(statement.kind, "SelectStmt" | "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt") {
            return None;
        }
        let (mut all, mut in_calls) = ([0_u32; 64], [0_u32; 64]);
        let (mut names, mut known) = (0, true);
        statement.walk(|node| match node.kind {
            "ParamRef" => count(node, &mut all),
            "FuncCall" if is_call(node) => {
                if let Some(name) = argument(node, 0) {
                    known &= is_postgresqls(node) && position(name).is_some();
                    names |= position(name).map_or(0, |at| 1_u64 << at);
                }
                [argument(node, 0), argument(node, 1)].into_iter().flatten().for_each(|it| count(it, &mut in_calls));
            }
            _ => {}
        });
        let elsewhere = (0..64).filter(|&at| all[at] != in_calls[at]).fold(0, |set, at| set | 1_u64 << at) & names;
        (known && names != 0).then_some(Self { names, elsewhere })
    }

    /// Whether PostgreSQL takes the parameters as they are, where a Parse message has these types: their count first.
    pub fn are_text(self, types: &[u8]) -> bool {
        let oids = types.get(2..).unwrap_or_default().as_chunks().0;
        let is_text = |number: u16| {
            let oid = oids.get(usize::from(number) - 1).map_or(0, |oid| u32::from_be_bytes(*oid));
            TEXT.contains(&oid) || (OPEN.contains(&oid) && self.elsewhere & (1 << (number - 1)) == 0)
        };
        self.numbers().all(is_text)
    }

    /// The numbers of the parameters, from 1, in order.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        (1..=MAX_NUMBER as u16).filter(move |number| self.names & (1 << (number - 1)) != 0)
    }
}

/// Whether a node is a call of `set_config` with a parameter for the name.
pub(crate) fn names_a_setting(node: &Tree) -> bool {
    node.kind == "FuncCall" && argument(node, 0).is_some() && is_call(node)
}

/// An argument that is a parameter.
fn argument(call: &Tree, at: usize) -> Option<&Tree> {
    call.list("args").get(at).and_then(Value::node).filter(|argument| argument.kind == "ParamRef")
}

/// Other schemas have functions of somebody's, with types of their own for what is not a name there.
fn is_postgresqls(call: &Tree) -> bool {
    let is_own = call.list("funcname").len() == 1 || call.first_name("funcname") == "pg_catalog";
    is_own && !call.flag("func_variadic")
}

fn position(parameter: &Tree) -> Option<usize> {
    let number = u32::try_from(parameter.num("number")).ok().filter(|number| (1..=MAX_NUMBER).contains(number))?;
    usize::try_from(number - 1).ok()
}

fn count(parameter: &Tree, counts: &mut [u32; 64]) {
    if let Some(count) = position(parameter).and_then(|at| counts.get_mut(at)) {
        *count += 1;
    }
}

impl Policy {
    /// Whether the setting may be changed that a parameter names; its value is not known. `None` for a parameter that is NULL.
    pub fn refused_parameter(&self, name: Option<&[u8]>) -> Option<&'static Refusal> {
        if self.guard == GuardMode::Off {
            return None;
        }
        let Some(name) = name else { return Some(&refusal::NULL_NAME) };
        // What other bytes are depends on the encoding of the client.
        let name = std::str::from_utf8(name).ok().filter(|name| name.is_ascii() && name.len() <= MAX_PARAMETER_NAME);
        let Some(name) = name else { return Some(&refusal::PARAMETER_NAME) };
        let refusal = guard::setting(name, None, self)?;
        match refusal {
            _ if refusal.is_about_identity() && !self.identity => None,
            _ if refusal.depends_on_value() => Some(&refusal::PARAMETER_VALUE),
            _ => Some(refusal),
        }
    }
}
