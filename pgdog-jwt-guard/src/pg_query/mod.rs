//! PostgreSQL's own grammar, by the crate `pg_query`.

mod reflect;

use ::pg_query::protobuf::Token as Kind;
use ::pg_query::{Error, FingerprintOptions};

use crate::parser::{ParseError, Parser, Token, TokenKind};
use crate::tree::Tree;

/// Reads SQL with the grammar of PostgreSQL 18.
#[derive(Clone, Copy, Debug)]
pub struct PgQuery;

impl Parser for PgQuery {
    fn parse(&self, sql: &str) -> Result<Vec<Tree>, ParseError> {
        let parsed = ::pg_query::parse(sql, 0).map_err(|error| match error {
            Error::Decode(_) => ParseError::TooDeep,
            _ => ParseError::Syntax,
        })?;
        let statements = parsed.protobuf.stmts.iter().map(|raw| raw.stmt.as_deref().and_then(reflect::tree));
        statements.collect::<Option<_>>().ok_or(ParseError::Syntax)
    }

    fn complaint(&self, sql: &str) -> Option<String> {
        match ::pg_query::parse(sql, 0) {
            Err(Error::Parse(message)) => Some(message),
            _ => None,
        }
    }

    fn tokens(&self, sql: &str) -> Option<Vec<Token>> {
        let scanned = ::pg_query::scan_tokens(sql).ok()?;
        let token = |token: ::pg_query::protobuf::ScanToken| {
            let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
            let text = sql.get(range.clone())?;
            Some(Token { kind: kind(token.token, token.keyword_kind != 0 || text.len() == 1), range })
        };
        scanned.into_iter().map(token).collect()
    }

    /// Tables whose names differ in digits are told apart.
    fn fingerprint(&self, sql: &str) -> Option<u64> {
        ::pg_query::fingerprint(sql, 0, FingerprintOptions::FULL_RELNAME).ok().map(|fingerprint| fingerprint.value)
    }
}

/// `fixed`: it is a keyword or a single sign.
fn kind(token: i32, fixed: bool) -> TokenKind {
    match Kind::try_from(token) {
        Ok(Kind::SqlComment | Kind::CComment) => TokenKind::Comment,
        Ok(Kind::Ident) => TokenKind::Name,
        Ok(Kind::Sconst) => TokenKind::String,
        Ok(Kind::Bconst) => TokenKind::Bits,
        Ok(Kind::Xconst) => TokenKind::HexBits,
        Ok(Kind::Iconst | Kind::Fconst) => TokenKind::Number,
        Ok(
            Kind::Param
            | Kind::Op
            | Kind::Typecast
            | Kind::DotDot
            | Kind::ColonEquals
            | Kind::EqualsGreater
            | Kind::LessEquals
            | Kind::GreaterEquals
            | Kind::NotEquals,
        ) => TokenKind::Fixed,
        Ok(_) if fixed => TokenKind::Fixed,
        // Unicode escapes, and whatever comes with another PostgreSQL.
        _ => TokenKind::Other,
    }
}
