//! `pgdog-jwt check`: would the gateway start with these files, and what do they mean?

mod accounts;
mod connect;
mod log_settings;
mod server;

use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use pgdog_jwt::config::KeySource;
use serde_json::{Value, json};

use super::summary::Summary;
use super::{Failure, Paths, output};
use crate::app::state::Generation;
use crate::app::{descriptors, trial};
use crate::config::{Config, Problem, Spot};

#[derive(Debug, Args)]
#[command(after_help = "\
The exit status is 0 when the gateway would start, and 1 when it would not. With --connect, it is 3 when the gateway would
start and a server, an issuer or a role is not as it must be. Nothing is changed, and no session is disturbed: a gateway may
be running with the same files.")]
pub(super) struct Check {
    /// Print one JSON object: problems with file, line, severity and message, and the summary
    #[arg(long)]
    json: bool,
    /// Also log in to the servers, ask the issuers for their keys, and look at roles and what servers write into their logs
    #[arg(long)]
    connect: bool,
    /// Seconds that --connect may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

/// The files are right, and something that they speak of is not.
const NOT_AS_CONFIGURED: u8 = 3;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

/// Everything that was found.
#[derive(Default)]
struct Findings {
    all: Vec<(Severity, Problem)>,
    /// What was found by trying.
    tried: Vec<(Severity, String)>,
    summary: Option<Summary>,
}

impl Check {
    pub(super) fn run(&self, paths: &Paths) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let findings = runtime.block_on(self.look(paths));
        // Nothing waits for a name that is being looked up.
        runtime.shutdown_background();
        if self.json {
            output::line(format_args!("{:#}", findings.value()))?;
        } else {
            findings.print()?;
        }
        let is_error = |(severity, _): &(Severity, String)| *severity == Severity::Error;
        Ok(match findings.has_errors() {
            true => ExitCode::FAILURE,
            false if findings.tried.iter().any(is_error) => ExitCode::from(NOT_AS_CONFIGURED),
            false => ExitCode::SUCCESS,
        })
    }

    async fn look(&self, paths: &Paths) -> Findings {
        let mut findings = Findings::default();
        let loaded = match paths.load() {
            Ok(loaded) => loaded,
            Err(error) => {
                findings.add(Severity::Error, error.problems);
                return findings;
            }
        };
        findings.add(Severity::Warning, loaded.warnings);
        let config = loaded.config.clone();
        // As a start does: what is left for clients is counted by the limit that it would have.
        descriptors::raise();
        match paths.build(loaded.config, None) {
            Ok(generation) => self.look_around(paths, &Arc::new(generation), &mut findings).await,
            Err(error) => findings.add(Severity::Error, error.problems),
        }
        if !findings.has_errors() {
            findings.summary = Some(Summary::of(&config));
        }
        findings
    }

    /// What a start does besides, and what the first login would need.
    async fn look_around(&self, paths: &Paths, generation: &Arc<Generation>, findings: &mut Findings) {
        let place = |(key, reason): (&'static str, String)| paths.placed_key(key, reason);
        let obstacles = trial::obstacles(&generation.config).await;
        findings.add(Severity::Error, obstacles.into_iter().map(place).collect());
        let shortage = generation.bounds.shortage(&generation.config).map(|reason| ("max_client_conn", reason));
        findings.add(Severity::Warning, shortage.into_iter().map(place).collect());
        let unreadable = unreadable_files(&generation.config).into_iter().map(|problem| paths.placed(problem));
        findings.add(Severity::Error, unreadable.collect());
        if self.connect {
            findings.tried = connect::try_all(generation, Duration::from_secs(self.timeout)).await;
        }
    }
}

/// Files that are read only later, and that this user cannot read.
fn unreadable_files(config: &Config) -> Vec<Problem> {
    let issuers = config.jwt.iter().flat_map(|jwt| &jwt.core.issuers);
    let files = issuers.filter_map(|issuer| match &issuer.keys {
        KeySource::Jwks(source) | KeySource::Discovery(source) => source.bearer_token_file.as_deref(),
        _ => None,
    });
    let problem = |path: &std::path::Path| {
        let reason = File::open(path).err().map(|error| format!("cannot be read: {error}"))?;
        Some(Problem { spot: Spot::whole(path.display().to_string()), reason })
    };
    files.filter_map(problem).collect()
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Findings {
    fn add(&mut self, severity: Severity, problems: Vec<Problem>) {
        self.all.extend(problems.into_iter().map(|problem| (severity, problem)));
    }

    fn has_errors(&self) -> bool {
        self.all.iter().any(|(severity, _)| *severity == Severity::Error)
    }

    /// Problems on standard error, the meaning on standard output.
    fn print(&self) -> io::Result<()> {
        for (severity, problem) in &self.all {
            output::note(format_args!("{}: {problem}", severity.word()));
        }
        for (severity, problem) in &self.tried {
            output::note(format_args!("{}: {problem}", severity.word()));
        }
        if let Some(summary) = &self.summary {
            output::print(&summary.text)?;
        }
        Ok(())
    }

    fn value(&self) -> Value {
        let problem = |(severity, problem): &(Severity, Problem)| {
            let spot = &problem.spot;
            json!({
                "file": Some(&spot.file).filter(|file| !file.is_empty()),
                "line": spot.position.map(|(line, _)| line),
                "severity": severity.word(),
                "message": problem.reason,
            })
        };
        let tried = |(severity, message): &(Severity, String)| json!({ "file": null, "line": null, "severity": severity.word(), "message": message });
        let problems: Vec<_> = self.all.iter().map(problem).chain(self.tried.iter().map(tried)).collect();
        json!({ "problems": problems, "summary": self.summary.as_ref().map(|summary| &summary.value) })
    }
}
