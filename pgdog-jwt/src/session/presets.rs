//! Variables under the names that other systems gave them, so that policies written for those work here.

use super::{OneVariable, Template, Variable};

/// The names of the presets.
pub const PRESETS: [&str; 4] = ["app", "orochi", "postgrest", "supabase"];

/// The variables of a preset; `None`: there is none of that name.
pub fn preset(name: &str) -> Option<Vec<Variable>> {
    let variables: &[(&str, &str)] = match name {
        "app" => &[
            ("app.user_id", "{sub}"),
            ("app.user_email", "{email}"),
            ("app.tenant_id", "{tenant_id}"),
            ("app.roles", "{roles|csv}"),
        ],
        "orochi" => &[
            ("orochi.user_id", "{user_id}"),
            ("orochi.tenant_id", "{tenant_id}"),
            ("orochi.branch_id", "{branch_id}"),
            ("orochi.permission_level", "{permission_level}"),
            ("orochi.read_only", "{read_only}"),
        ],
        "postgrest" => &[("request.jwt.claims", "{|json}")],
        "supabase" => &[
            ("request.jwt.claims", "{|json}"),
            ("request.jwt.claim.sub", "{sub}"),
            ("request.jwt.claim.role", "{role}"),
            ("request.jwt.claim.email", "{email}"),
        ],
        _ => return None,
    };
    let mut variables: Vec<Variable> = variables
        .iter()
        .filter_map(|(name, template)| Some((name, Template::parse(template).ok()?)))
        .map(|(name, template)| Variable::One(Box::new(OneVariable::new(*name, template))))
        .collect();
    match name {
        // Beside the identity, where no entry can take the place of a part of it.
        "orochi" => variables.push(each("orochi.metadata", "metadata", false)),
        // As PostgREST before version 9: only names that can be variables, and no lists.
        "postgrest" => variables.push(each("request.jwt.claim", "", true)),
        _ => {}
    }
    Some(variables)
}

fn each(name: &str, claim: &str, lenient: bool) -> Variable {
    Variable::Each { name: name.to_owned(), claim: claim.to_owned(), lenient }
}
