//! The part of the page about claims: which become session variables, and which rule what a session may do.

use pgdog_jwt::JwtConfig;
use pgdog_jwt::session::Variable;

use super::page::Page;

pub(super) fn variables(page: &mut Page, core: &JwtConfig) {
    for variable in &core.variables {
        let section = page.one_of("variable", "variables").fact("name", variable.pattern());
        let sentence = match variable {
            Variable::One(one) => {
                let required = if one.required { ", required" } else { "" };
                section.fact("required", one.required).fact("value", one.value.to_string());
                format!("{} = {}{required}", one.name, one.value)
            }
            Variable::Each { claim, .. } => {
                section.fact("claim", claim.as_str());
                let from = if claim.is_empty() { "all claims".to_owned() } else { format!("claim \"{claim}\"") };
                format!("{} from {from}", variable.pattern())
            }
        };
        section.say(sentence);
    }
}

pub(super) fn claims(page: &mut Page, core: &JwtConfig) {
    let policy = &core.claims;
    let rules = [
        ("read_only", &policy.read_only, "true: read-only"),
        ("database", &policy.database, "the databases that may be opened"),
        ("pool_mode", &policy.pool_mode, "the pooler mode"),
        ("max_connections", &policy.max_connections, "most connections"),
    ];
    let named = rules.iter().filter_map(|(key, claim, meaning)| claim.as_ref().map(|claim| (*key, claim, *meaning)));
    for (key, claim, meaning) in named {
        let section = page.one_of("claim", "claim_rules").fact("rule", key).fact("claim", claim.as_str());
        section.say(format!("\"{claim}\" is {meaning}"));
    }
    if let Some(claim) = &policy.permission_level {
        let levels: Vec<String> = policy.levels.iter().map(ToString::to_string).collect();
        let section = page.one_of("claim", "claim_rules").fact("rule", "permission_level");
        section.fact("claim", claim.as_str()).fact("levels", levels.clone());
        let levels = levels.iter().enumerate().map(|(number, level)| format!("{number} {level}"));
        section.say(format!("\"{claim}\" is the level: {}", levels.collect::<Vec<_>>().join(", ")));
    }
    if let Some(ceiling) = policy.max_connections_ceiling {
        let section = page.one_of("claim", "claim_rules").fact("rule", "max_connections_ceiling");
        section.say(format!("never more than {ceiling} connections")).fact("most", ceiling);
    }
}
