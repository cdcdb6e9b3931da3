//! The lines, under the files that they belong in.

/// See the module.
#[derive(Default)]
pub(super) struct Page {
    notes: Vec<String>,
    hba: Vec<String>,
    ident: Vec<String>,
    settings: Vec<String>,
}

impl Page {
    /// A comment above the lines of pg_hba.conf.
    pub(super) fn note(&mut self, text: &str) {
        self.notes.push(format!("# {text}"));
    }

    pub(super) fn hba(&mut self, kind: &str, databases: &str, users: &str, address: &str, method: &str) {
        let line = format!("{kind:<8} {databases:<15} {users:<15} {address:<18} {method}");
        self.hba.push(line);
    }

    pub(super) fn ident(&mut self, map: &str, system_user: &str, role: &str) {
        self.ident.push(format!("{map:<10} {system_user:<25} {role}"));
    }

    pub(super) fn setting(&mut self, line: &str) {
        self.settings.push(line.to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hba.is_empty()
    }

    pub(super) fn text(self) -> String {
        let mut text = String::new();
        let columns = "# TYPE   DATABASE        USER            ADDRESS            METHOD";
        let hba = self.notes.into_iter().chain([columns.to_owned()]).chain(self.hba);
        section(&mut text, "pg_hba.conf", hba);
        if !self.ident.is_empty() {
            let columns = "# MAPNAME  SYSTEM-USERNAME           PG-USERNAME".to_owned();
            section(&mut text, "pg_ident.conf", [columns].into_iter().chain(self.ident));
        }
        if !self.settings.is_empty() {
            section(&mut text, "postgresql.conf", self.settings.into_iter());
        }
        text
    }
}

fn section(text: &mut String, file: &str, lines: impl Iterator<Item = String>) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("# === {file} ===\n"));
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
}
