//! The guard on a logical replication connection. PostgreSQL takes two languages there and tells them apart by the first
//! word: replication commands, which no parser of SQL knows, and SQL, which the guard reads as everywhere.

/// What a text is to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// A replication command that logical decoding needs.
    Allowed,
    /// Another replication command: of physical replication, or unknown.
    Refused,
    /// SQL, for the guard.
    Sql,
}

/// First words of replication commands, PostgreSQL 13 to 18 (`repl_scanner.l`). They count in capitals only. SHOW is a word
/// of both languages and means the same in both.
const COMMANDS: [&[u8]; 9] = [
    b"ALTER_REPLICATION_SLOT",
    b"BASE_BACKUP",
    b"CREATE_REPLICATION_SLOT",
    b"DROP_REPLICATION_SLOT",
    b"IDENTIFY_SYSTEM",
    b"READ_REPLICATION_SLOT",
    b"START_REPLICATION",
    b"TIMELINE_HISTORY",
    b"UPLOAD_MANIFEST",
];

/// Tells the languages apart, and physical commands from those of logical decoding.
pub fn language(text: &[u8]) -> Language {
    let mut words = Words(text);
    let Some(first) = words.next() else { return Language::Sql };
    if !COMMANDS.contains(&first) {
        return Language::Sql;
    }
    let allowed = match first {
        b"ALTER_REPLICATION_SLOT"
        | b"DROP_REPLICATION_SLOT"
        | b"IDENTIFY_SYSTEM"
        | b"READ_REPLICATION_SLOT"
        | b"TIMELINE_HISTORY" => true,
        b"START_REPLICATION" => words.next() == Some(b"SLOT") && words.next().is_some() && words.is_logical(),
        b"CREATE_REPLICATION_SLOT" => {
            let _name = words.next();
            let temporary = words.clone().next() == Some(b"TEMPORARY");
            if temporary {
                words.next();
            }
            words.is_logical()
        }
        _ => false,
    };
    if allowed { Language::Allowed } else { Language::Refused }
}

/// The words of a text, quoted names among them; it ends at anything else.
#[derive(Clone)]
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn is_logical(&mut self) -> bool {
        self.next() == Some(b"LOGICAL")
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))?;
        let text = self.0.get(start..)?;
        let length = match text.first()? {
            b'"' => quoted(text)?,
            byte if is_letter(*byte) => text
                .iter()
                .position(|byte| !is_letter(*byte) && !matches!(byte, b'0'..=b'9' | b'$'))
                .unwrap_or(text.len()),
            _ => return None,
        };
        let (word, rest) = text.split_at_checked(length)?;
        self.0 = rest;
        Some(word)
    }
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// The length of a quoted name; a doubled quote is part of it.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', text.get(at..)?)? + 1;
        if text.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str], language: Language) {
        for text in texts {
            assert_eq!(super::language(text.as_bytes()), language, "{text}");
        }
    }

    #[test]
    fn what_logical_decoding_needs_is_allowed() {
        all(
            &[
                "IDENTIFY_SYSTEM",
                " \n\tIDENTIFY_SYSTEM;",
                "CREATE_REPLICATION_SLOT \"s\" LOGICAL \"pgoutput\" (SNAPSHOT 'nothing')",
                "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding NOEXPORT_SNAPSHOT",
                "START_REPLICATION SLOT \"a \"\"b\"\" PHYSICAL\" LOGICAL 0/0 (\"proto_version\" '1')",
                "START_REPLICATION SLOT s LOGICAL 16/B374D848",
                "DROP_REPLICATION_SLOT s WAIT",
                "ALTER_REPLICATION_SLOT s (FAILOVER true)",
                "READ_REPLICATION_SLOT s",
                "TIMELINE_HISTORY 1",
            ],
            Language::Allowed,
        );
    }

    #[test]
    fn physical_replication_is_refused_however_it_is_written() {
        all(
            &[
                "BASE_BACKUP",
                "BASE_BACKUP ( LABEL 'LOGICAL' )",
                "UPLOAD_MANIFEST",
                "START_REPLICATION 0/0",
                "START_REPLICATION PHYSICAL 0/0",
                "START_REPLICATION SLOT s 0/0",
                "START_REPLICATION SLOT s PHYSICAL 0/0",
                "START_REPLICATION SLOT \"s LOGICAL\" 0/0",
                "START_REPLICATION SLOT LOGICAL 0/0",
                "START_REPLICATION SLOT s \"LOGICAL\" 0/0",
                "START_REPLICATION SLOT s logical 0/0",
                "START_REPLICATION/**/SLOT s LOGICAL 0/0",
                "CREATE_REPLICATION_SLOT s PHYSICAL",
                "CREATE_REPLICATION_SLOT LOGICAL PHYSICAL",
                "CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL RESERVE_WAL",
                "CREATE_REPLICATION_SLOT \"s LOGICAL",
            ],
            Language::Refused,
        );
    }

    #[test]
    fn everything_else_is_sql() {
        all(
            &[
                "",
                ";",
                "SELECT 1",
                "SHOW data_directory",
                "start_replication SLOT s LOGICAL 0/0",
                "START_REPLICATIONS SLOT s LOGICAL 0/0",
                "\"START_REPLICATION\" SLOT s LOGICAL 0/0",
                "/* */ BASE_BACKUP",
                "SET ROLE bob",
            ],
            Language::Sql,
        );
    }
}
