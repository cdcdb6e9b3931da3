//! Whether a server writes into its log what the gateway's statements carry: claims, proofs and the values of session variables
//! are parameters of them.

/// What is asked of a session of the account: a role's own settings count. A setting that is not there is an empty text.
pub(super) const QUESTION: &str = "SELECT pg_catalog.current_setting('log_statement', true), \
    pg_catalog.current_setting('log_min_duration_statement', true), \
    pg_catalog.current_setting('log_min_duration_sample', true), \
    pg_catalog.current_setting('log_transaction_sample_rate', true), \
    pg_catalog.current_setting('log_parameter_max_length', true), \
    pg_catalog.current_setting('log_parameter_max_length_on_error', true), \
    pg_catalog.current_setting('auto_explain.log_min_duration', true), \
    pg_catalog.current_setting('auto_explain.log_parameter_max_length', true), \
    pg_catalog.current_setting('pgaudit.log', true), \
    pg_catalog.current_setting('pgaudit.log_parameter', true)";

/// The settings by which parameters get into the log, each with what to do; `answer` is that to [`QUESTION`].
pub(super) fn leaks(answer: &[&str]) -> Vec<String> {
    let at = |number: usize| answer.get(number).copied().unwrap_or_default();
    let (statement, duration, sample, transactions) = (at(0), at(1), at(2), at(3));
    let mut found = Vec::new();
    // Not there before PostgreSQL 13, which wrote all of it.
    if at(4) != "0" {
        let mut by = Vec::new();
        // The gateway's statements are all SELECT, which only this writes.
        if statement == "all" {
            by.push("log_statement = all".to_owned());
        }
        for (name, value) in [("log_min_duration_statement", duration), ("log_min_duration_sample", sample)] {
            if is_on(value) {
                by.push(format!("{name} = {value}"));
            }
        }
        if transactions.parse::<f64>().is_ok_and(|rate| rate > 0.0) {
            by.push(format!("log_transaction_sample_rate = {transactions}"));
        }
        if !by.is_empty() {
            found.push(format!("{}: set log_parameter_max_length = 0 for this account", by.join(", ")));
        }
    }
    if !matches!(at(5), "0" | "") {
        found.push("log_parameter_max_length_on_error is not 0: set it to 0 for this account".to_owned());
    }
    // Before PostgreSQL 16 it has no limit of its own, and plans hold the values.
    if is_on(at(6)) && at(7) != "0" {
        let value = at(6);
        found.push(format!(
            "auto_explain.log_min_duration = {value}: set it to -1, or auto_explain.log_parameter_max_length to 0 (PostgreSQL 16), \
             for this account"
        ));
    }
    if !matches!(at(8), "" | "none") && at(9) == "on" {
        found.push("pgaudit.log_parameter = on: set it to off for this account".to_owned());
    }
    found
}

/// A limit in time is none at -1.
fn is_on(limit: &str) -> bool {
    !matches!(limit, "" | "-1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL's defaults, with some of them changed.
    fn found(changes: &[(usize, &str)]) -> Vec<String> {
        let mut answer = ["none", "-1", "-1", "0", "-1", "0", "", "", "", ""];
        for (at, value) in changes {
            answer[*at] = value;
        }
        leaks(&answer)
    }

    #[test]
    fn what_writes_parameters_is_named() {
        assert!(found(&[]).is_empty());
        assert!(found(&[(0, "mod")]).is_empty());
        for (changes, setting) in [
            (&[(0, "all")][..], "log_statement"),
            (&[(1, "0")], "log_min_duration_statement"),
            (&[(1, "250ms")], "log_min_duration_statement"),
            (&[(2, "1s")], "log_min_duration_sample"),
            (&[(3, "0.01")], "log_transaction_sample_rate"),
            (&[(5, "-1")], "log_parameter_max_length_on_error"),
            (&[(6, "0"), (7, "-1")], "auto_explain"),
            (&[(6, "10ms")], "auto_explain"),
            (&[(8, "read, write"), (9, "on")], "pgaudit"),
        ] {
            let found = found(changes);
            assert!(found.len() == 1 && found[0].contains(setting), "{found:?}");
        }
    }

    #[test]
    fn what_is_kept_out_is_no_leak() {
        assert!(found(&[(0, "all"), (1, "0"), (4, "0")]).is_empty());
        assert!(found(&[(6, "0"), (7, "0")]).is_empty());
        assert!(found(&[(8, "all"), (9, "off")]).is_empty());
        assert!(found(&[(8, "none"), (9, "on")]).is_empty());
    }
}
