//! `pgdog-jwt check`: would the gateway start with these files, and what do they mean?

use std::fs::File;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use pgdog_jwt::config::KeySource;
use serde_json::{Value, json};

use super::summary::Summary;
use super::{Failure, Paths};
use crate::app::state::Generation;
use crate::app::trial;
use crate::config::{Config, Problem, Spot};

#[derive(Debug, Args)]
#[command(after_help = "\
The exit status is 0 when the gateway would start, and 1 when it would not. Nothing is changed, and no session is disturbed:
a gateway may be running with the same files.")]
pub(super) struct Check {
    /// Print one JSON object: problems with file, line, severity and message, and the summary
    #[arg(long)]
    json: bool,
}

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
    summary: Option<Summary>,
}

impl Check {
    pub(super) fn run(&self, paths: &Paths) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let findings = runtime.block_on(Self::look(paths));
        // Nothing waits for a name that is being looked up.
        runtime.shutdown_background();
        if self.json {
            println!("{:#}", findings.value());
        } else {
            findings.print();
        }
        Ok(if findings.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    async fn look(paths: &Paths) -> Findings {
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
        match paths.build(loaded.config, None) {
            Ok(generation) => Self::look_around(paths, &Arc::new(generation), &mut findings).await,
            Err(error) => findings.add(Severity::Error, error.problems),
        }
        if !findings.has_errors() {
            findings.summary = Some(Summary::of(&config));
        }
        findings
    }

    /// What a start does besides, and what the first login would need.
    async fn look_around(paths: &Paths, generation: &Arc<Generation>, findings: &mut Findings) {
        let place = |(key, reason): (&'static str, String)| paths.placed_key(key, reason);
        let obstacles = trial::obstacles(&generation.config).await;
        findings.add(Severity::Error, obstacles.into_iter().map(place).collect());
        let unreadable = unreadable_files(&generation.config).into_iter().map(|problem| paths.placed(problem));
        findings.add(Severity::Error, unreadable.collect());
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
    fn print(&self) {
        for (severity, problem) in &self.all {
            eprintln!("{}: {problem}", severity.word());
        }
        if let Some(summary) = &self.summary {
            print!("{}", summary.text);
        }
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
        let problems: Vec<_> = self.all.iter().map(problem).collect();
        json!({ "problems": problems, "summary": self.summary.as_ref().map(|summary| &summary.value) })
    }
}
