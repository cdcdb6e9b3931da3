//! What the administrator types. Words are taken in any case, a semicolon may follow, names may be quoted as in SQL.

use super::revoke;
use super::table::Table;
use crate::app::Leave;

/// A table that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Clients,
    Servers,
    Pools,
    Stats,
    StatsTotals,
    StatsAverages,
    Totals,
    State,
    Databases,
    Users,
    Config,
    Version,
    Lists,
    Prepared,
    Bans,
    Subjects,
    Keys,
    Introspection,
    Revocations,
    Help,
}

/// Every topic with its word, in the order of SHOW HELP, and what it shows.
pub(super) const TOPICS: [(&str, Topic, &str); 20] = [
    ("CLIENTS", Topic::Clients, "clients: who, from where, what they do"),
    ("SERVERS", Topic::Servers, "connections to PostgreSQL"),
    ("POOLS", Topic::Pools, "pools: connections in use and free, clients that wait"),
    ("STATS", Topic::Stats, "totals and averages of each database"),
    ("STATS_TOTALS", Topic::StatsTotals, "the totals alone"),
    ("STATS_AVERAGES", Topic::StatsAverages, "the averages alone"),
    ("TOTALS", Topic::Totals, "totals and averages of all databases together"),
    ("STATE", Topic::State, "whether all databases are paused"),
    ("DATABASES", Topic::Databases, "configured databases and their servers"),
    ("USERS", Topic::Users, "users of users.toml"),
    ("SUBJECTS", Topic::Subjects, "token subjects that are logged in"),
    ("KEYS", Topic::Keys, "issuers and their public keys"),
    ("INTROSPECTION", Topic::Introspection, "issuers that are asked about tokens"),
    ("REVOCATIONS", Topic::Revocations, "tokens that are no good any more"),
    ("PREPARED", Topic::Prepared, "prepared statements that follow their clients"),
    ("BANS", Topic::Bans, "servers that get no reads while there is another"),
    ("LISTS", Topic::Lists, "how many of everything"),
    ("CONFIG", Topic::Config, "the configuration that holds now; secrets are not shown"),
    ("VERSION", Topic::Version, "version of this program"),
    ("HELP", Topic::Help, "this list"),
];

/// The commands that do something, as they are typed, and what they do.
pub(super) const ACTIONS: [(&str, &str); 15] = [
    ("RELOAD", "read the configuration again; a bad file changes nothing"),
    ("FLUSH RESOLVERS", "forget the results of resolvers; new logins ask again"),
    ("RECONNECT [db]", "replace all connections to PostgreSQL, each when nobody uses it"),
    ("PAUSE [db]", "let clients wait, and close the connections when they are free"),
    ("RESUME [db]", "end a PAUSE, or a KILL DATABASE"),
    ("WAIT_CLOSE [db]", "wait until the connections that a RECONNECT or RELOAD replaces are closed"),
    ("DISABLE db", "refuse new clients of a database; those that are there stay"),
    ("ENABLE db", "end a DISABLE"),
    (
        "BAN [server | db]",
        "no reads for a server (host:port or id), or for the replicas of a database, while there is another",
    ),
    ("UNBAN [server | db]", "end a BAN, and the ban of a server that failed"),
    (
        "KILL <id | user>",
        "cut off one client, or all clients of a user or subject; KILL_CLIENT <id> and KILL USER <user> are the same",
    ),
    (
        "KILL DATABASE db",
        "cut off all clients of a database and close its connections; new statements wait until RESUME",
    ),
    (
        "REVOKE …",
        "TOKEN 'jti', SUBJECT 'sub' [ISSUER 'iss'], ISSUER 'iss', with [ISSUED BEFORE 'moment' | NOW]: end its sessions for good",
    ),
    ("UNREVOKE <id | …>", "end a REVOKE"),
    (
        "SHUTDOWN [WAIT_FOR_SERVERS | WAIT_FOR_CLIENTS]",
        "end the process: clients leave when they lose nothing, at shutdown_timeout at the latest; or without that limit; or by themselves",
    ),
];

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// The topic, and the database that it is limited to.
    Show(Topic, Option<String>),
    Reload,
    FlushResolvers,
    Reconnect(Option<String>),
    Pause(Option<String>),
    Resume(Option<String>),
    /// A server by address or number, or the replicas of a database; none: all replicas.
    Ban(Option<String>),
    Unban(Option<String>),
    Kill(Target),
    WaitClose(Option<String>),
    Disable(String),
    Enable(String),
    Revoke(revoke::Whom),
    Unrevoke(revoke::Which),
    Shutdown(Leave),
    /// PgBouncer's.
    Suspend,
    /// Nothing between two semicolons.
    Empty,
    /// A driver's own statement that asks for something.
    Answer(Table),
    /// A driver's own statement that only wants to hear its tag.
    Accept(&'static str),
}

/// Whom KILL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A client by its number, or a user or subject.
    Any(String),
    Client(String),
    User(String),
    Database(String),
}

/// Why a text is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotACommand(pub(super) String);

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// As it was typed, without quotes.
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Topic {
    /// Whether it can be limited to a database.
    pub(super) fn takes_database(self) -> bool {
        matches!(
            self,
            Self::Stats
                | Self::StatsTotals
                | Self::StatsAverages
                | Self::Pools
                | Self::Clients
                | Self::Servers
                | Self::Subjects
        )
    }
}

impl Word {
    /// Whether this is the keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// Reads the words of a text, statement by statement.
pub(super) fn statements(text: &str) -> Vec<Vec<Word>> {
    let mut statements = vec![Vec::new()];
    let mut chars = text.chars().peekable();
    while let Some(&first) = chars.peek() {
        let word = match first {
            ';' => {
                chars.next();
                statements.push(Vec::new());
                continue;
            }
            '\'' | '"' => {
                chars.next();
                let mut text = String::new();
                while let Some(char) = chars.next() {
                    if char == first && chars.next_if_eq(&first).is_none() {
                        break;
                    }
                    text.push(char);
                }
                Word { text, quoted: true }
            }
            _ if first.is_whitespace() => {
                chars.next();
                continue;
            }
            _ => {
                let mut text = String::new();
                while let Some(char) = chars.next_if(|char| !char.is_whitespace() && !matches!(char, ';' | '\'' | '"'))
                {
                    text.push(char);
                    if text == "--" {
                        while chars.next_if(|char| *char != '\n').is_some() {}
                    }
                }
                if text == "--" {
                    continue;
                }
                Word { text, quoted: false }
            }
        };
        if let Some(statement) = statements.last_mut() {
            statement.push(word);
        }
    }
    statements
}

/// Reads one statement.
pub(super) fn parse(words: &[Word], who: &super::drivers::Who<'_>) -> Result<Command, NotACommand> {
    let Some((first, rest)) = words.split_first() else { return Ok(Command::Empty) };
    if let (true, Some((what, rest))) = (first.is("SHOW"), rest.split_first())
        && let Some((_, topic, _)) = TOPICS.iter().find(|(word, _, _)| what.is(word))
    {
        // PgDog's own spelling.
        let rest = match rest {
            [word] if *topic == Topic::Prepared && word.is("STATEMENTS") => &[],
            other => other,
        };
        return match (topic, rest) {
            (_, []) => Ok(Command::Show(*topic, None)),
            (topic, [database]) if topic.takes_database() => Ok(Command::Show(*topic, Some(database.text.clone()))),
            _ => Err(NotACommand(format!("SHOW {} takes no such argument", what.text.to_ascii_uppercase()))),
        };
    }
    if let Some(command) = revoke::parse(words) {
        return command;
    }
    let database = |make: fn(Option<String>) -> Command| match rest {
        [] => Ok(make(None)),
        [database] => Ok(make(Some(database.text.clone()))),
        _ => Err(NotACommand(format!("{} takes at most one name", first.text.to_ascii_uppercase()))),
    };
    match rest {
        [] if first.is("RELOAD") => Ok(Command::Reload),
        [what] if first.is("FLUSH") && what.is("RESOLVERS") => Ok(Command::FlushResolvers),
        [] if first.is("SHUTDOWN") => Ok(Command::Shutdown(Leave::InTime)),
        [what] if first.is("SHUTDOWN") && what.is("WAIT_FOR_SERVERS") => Ok(Command::Shutdown(Leave::WhenIdle)),
        [what] if first.is("SHUTDOWN") && what.is("WAIT_FOR_CLIENTS") => Ok(Command::Shutdown(Leave::ByThemselves)),
        _ if first.is("SHUTDOWN") => Err(NotACommand("SHUTDOWN takes WAIT_FOR_SERVERS or WAIT_FOR_CLIENTS".to_owned())),
        [whom] if first.is("KILL_CLIENT") => Ok(Command::Kill(Target::Client(whom.text.clone()))),
        _ if first.is("KILL_CLIENT") => Err(NotACommand("KILL_CLIENT takes the id of a client".to_owned())),
        [whom] if first.is("KILL") && !whom.is("USER") && !whom.is("DATABASE") => {
            Ok(Command::Kill(Target::Any(whom.text.clone())))
        }
        [what, whom] if first.is("KILL") && what.is("USER") => Ok(Command::Kill(Target::User(whom.text.clone()))),
        [what, whom] if first.is("KILL") && what.is("DATABASE") => {
            Ok(Command::Kill(Target::Database(whom.text.clone())))
        }
        _ if first.is("KILL") => {
            Err(NotACommand("KILL takes the id of a client, a user, or DATABASE and its name".to_owned()))
        }
        [database] if first.is("DISABLE") => Ok(Command::Disable(database.text.clone())),
        [database] if first.is("ENABLE") => Ok(Command::Enable(database.text.clone())),
        _ if first.is("DISABLE") || first.is("ENABLE") => {
            Err(NotACommand(format!("{} takes the name of a database", first.text.to_ascii_uppercase())))
        }
        [] if first.is("SUSPEND") => Ok(Command::Suspend),
        _ if first.is("WAIT_CLOSE") => database(Command::WaitClose),
        _ if first.is("RECONNECT") => database(Command::Reconnect),
        _ if first.is("PAUSE") => database(Command::Pause),
        _ if first.is("RESUME") => database(Command::Resume),
        _ if first.is("BAN") => database(Command::Ban),
        _ if first.is("UNBAN") => database(Command::Unban),
        _ => super::drivers::parse(words, who),
    }
}

#[cfg(test)]
mod tests {
    use super::super::drivers::Who;
    use super::*;

    const WHO: Who<'_> = Who { user: "admin", database: "admin", process: 7 };

    fn one(text: &str) -> Result<Command, NotACommand> {
        parse(&statements(text)[0], &WHO)
    }

    #[test]
    fn commands_are_read_in_any_case_with_and_without_a_semicolon() {
        for text in ["SHOW POOLS", "show pools;", "  Show\n Pools ; ", "-- look\nshow pools"] {
            assert_eq!(one(text), Ok(Command::Show(Topic::Pools, None)), "{text}");
        }
        assert_eq!(one("pause app"), Ok(Command::Pause(Some("app".to_owned()))));
        assert_eq!(one("RESUME"), Ok(Command::Resume(None)));
        assert_eq!(one("ban 10.0.0.1:5432;"), Ok(Command::Ban(Some("10.0.0.1:5432".to_owned()))));
        assert_eq!(one("UNBAN '/run/pg:5432'"), Ok(Command::Unban(Some("/run/pg:5432".to_owned()))));
        assert_eq!(one("kill_client 7"), Ok(Command::Kill(Target::Client("7".to_owned()))));
        assert_eq!(one("KILL database \"user\""), Ok(Command::Kill(Target::Database("user".to_owned()))));
        assert_eq!(one("KILL USER app"), Ok(Command::Kill(Target::User("app".to_owned()))));
        assert_eq!(one("shutdown wait_for_clients"), Ok(Command::Shutdown(Leave::ByThemselves)));
        assert_eq!(one("show stats app"), Ok(Command::Show(Topic::Stats, Some("app".to_owned()))));
    }

    #[test]
    fn names_may_be_quoted() {
        assert_eq!(one("KILL 'al''ice; x'"), Ok(Command::Kill(Target::Any("al'ice; x".to_owned()))));
        assert_eq!(one("PAUSE \"My Db\""), Ok(Command::Pause(Some("My Db".to_owned()))));
        assert!(one("\"RELOAD\"").is_err());
    }

    #[test]
    fn a_text_may_hold_several_commands() {
        let all = statements("SHOW POOLS; ; RELOAD");
        let commands: Vec<_> = all.iter().map(|words| parse(words, &WHO).unwrap()).collect();
        assert_eq!(commands, [Command::Show(Topic::Pools, None), Command::Empty, Command::Reload]);
    }

    #[test]
    fn what_is_no_command_is_said_to_be_none() {
        for text in [
            "SHOW",
            "SHOW NONSENSE",
            "DROP TABLE x",
            "KILL",
            "KILL a b",
            "KILL USER",
            "KILL_CLIENT",
            "DISABLE",
            "ENABLE a b",
            "SHUTDOWN NOW",
            "WAIT_CLOSE a b",
            "PAUSE a b",
            "BAN a b",
            "SHOW POOLS a b",
            "RELOAD x",
        ] {
            assert!(one(text).is_err(), "{text}");
        }
    }
}
