//! Secrets in SHOW CONFIG: in which form one is given, and never the secret.

use pgdog_jwt::secret::Origin;

use super::config::{Entry, shown};

/// The four keys of a secret.
macro_rules! forms {
    ($section:literal, $name:literal, $origin:expr) => {
        $crate::admin::show::secrets::entries(
            $section,
            [$name, concat!($name, "_file"), concat!($name, "_env"), concat!($name, "_command")],
            $origin,
        )
    };
}
pub(super) use forms;

/// See [`forms`].
pub(super) fn entries(section: &'static str, names: [&'static str; 4], origin: Option<&Origin>) -> [Entry; 4] {
    let (mut literal, mut file, mut variable, mut command) = (None, None, None, None);
    match origin {
        None => {}
        Some(Origin::Text) => literal = shown("****"),
        Some(Origin::File(path)) => file = shown(path.display()),
        Some(Origin::Variable(name)) => variable = shown(name),
        Some(Origin::Command(renewable)) => command = shown(without_arguments(renewable.command())),
    }
    let [of_literal, of_file, of_variable, of_command] = names;
    [
        (section, of_literal, literal),
        (section, of_file, file),
        (section, of_variable, variable),
        (section, of_command, command),
    ]
}

/// Arguments may hold secrets.
fn without_arguments(command: &pgdog_jwt::secret::Command) -> String {
    let more = if command.words.len() > 1 { " ..." } else { "" };
    format!("{}{more}", command.program())
}
