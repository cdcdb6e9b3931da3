//! A program that prints a secret: run without a shell, for a limited time, and what it writes to its error output is not
//! looked at, because it may hold the secret.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{MAX_SIZE, without_line_end};

/// How often is looked whether a program that has printed everything has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A program with its arguments, and how it is run.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Command {
    /// The program, and what follows it.
    pub words: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How soon it is run again; `None`: only with the configuration.
    pub interval: Option<Duration>,
}

impl Command {
    /// The program without its arguments, which may hold secrets.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// What it prints. The error is the rest of a sentence about the program.
    pub(super) fn run(&self) -> Result<String, String> {
        let Some((program, arguments)) = self.words.split_first() else { return Err("is not named".to_owned()) };
        let mut process = Process::new(program);
        process.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Of its own, so that what it has started ends with it.
        process.process_group(0);
        let mut child = process.spawn().map_err(|error| format!("cannot be started: {error}"))?;
        let outcome = self.outcome(&mut child);
        if outcome.is_err() {
            end(&mut child);
        }
        outcome
    }

    fn outcome(&self, child: &mut Child) -> Result<String, String> {
        let deadline = Instant::now() + self.timeout;
        let late = || format!("did not end within {:?}", self.timeout);
        let (send, printed) = mpsc::sync_channel(1);
        let output = child.stdout.take();
        // Reading cannot be given up. The thread ends when nobody holds the other end any more.
        let reader = thread::Builder::new().name("secret".to_owned()).spawn(move || send.send(all(output)));
        reader.map_err(|error| format!("cannot be read from: {error}"))?;
        let printed = printed.recv_timeout(self.timeout).map_err(|_| late())?;
        let printed = printed.map_err(|error| format!("cannot be read from: {error}"))?;
        if printed.len() as u64 > MAX_SIZE {
            return Err(format!("printed more than {MAX_SIZE} bytes"));
        }
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() >= deadline => return Err(late()),
                Ok(None) => thread::sleep(LOOK),
                Err(error) => return Err(format!("cannot be waited for: {error}")),
            }
        };
        if !status.success() {
            return Err(format!("failed ({status})"));
        }
        without_line_end(printed).map_err(|reason| format!("printed a secret that {reason}"))
    }
}

/// Without arguments, which may hold secrets (S5).
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program()).finish_non_exhaustive()
    }
}

fn all(output: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    output.map_or(Ok(0), |output| output.take(MAX_SIZE + 1).read_to_end(&mut bytes))?;
    Ok(bytes)
}

/// With all that it has started.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<String, String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Command { words, timeout: Duration::from_secs(20), interval: None }.run()
    }

    fn shell(script: &str) -> Result<String, String> {
        run(&["/bin/sh", "-c", script])
    }

    #[test]
    fn no_shell_reads_the_arguments() {
        assert_eq!(
            run(&["printf", "%s\n", "$HOME `id` 'a' \"b\" \u{e9}; *"]).as_deref(),
            Ok("$HOME `id` 'a' \"b\" \u{e9}; *")
        );
    }

    #[test]
    fn what_goes_wrong_is_said_without_what_was_printed() {
        for (script, expected) in [
            ("echo hunter2; echo hunter2 >&2; exit 3", "failed (exit status: 3)"),
            ("echo hunter2; kill -9 $$", "failed (signal: 9 (SIGKILL))"),
            ("true", "printed a secret that is empty"),
            ("printf 'hunter2\\0'", "printed a secret that holds a zero byte"),
            ("printf 'hunter2\\377'", "printed a secret that is not UTF-8 text"),
            ("yes hunter2", "printed more than 16384 bytes"),
        ] {
            assert_eq!(shell(script).as_ref().map_err(String::as_str), Err(expected), "{script}");
        }
        let missing = run(&["/nonexistent/hunter2"]).unwrap_err();
        assert!(missing.starts_with("cannot be started: "), "{missing}");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_all_that_it_has_started() {
        for script in ["sleep 1000", "sleep 1000 & sleep 1000", "exec >&-; sleep 1000", "sleep 1000 & exit 0"] {
            let words = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
            let command = Command { words, timeout: Duration::from_millis(200), interval: None };
            assert_eq!(command.run().unwrap_err(), "did not end within 200ms", "{script}");
        }
    }
}
