//! Where the core's own findings stand in the file.

use std::collections::BTreeMap;

use super::section::Section;
use crate::config::{Fault, Finding, JwtConfig, Part, Problem, Spot, findings};

/// Where the keys of a part of the settings stand, and what the file calls them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    header: Spot,
    keys: BTreeMap<String, (String, Spot)>,
}

impl Places {
    /// Of a section whose keys have the core's names.
    pub(super) fn of(section: &Section<'_>) -> Self {
        let place = |key: &str| (key.to_owned(), (key.to_owned(), section.spot(key)));
        Self { header: section.place(), keys: section.keys().map(place).collect() }
    }

    /// Of one of `[[jwt.issuers]]`, which has the rest from `[jwt]`.
    pub(super) fn of_issuer(section: &Section<'_>, own: &Self) -> Self {
        let mut places = Self::of(section);
        let is_inherited = |key: &str| {
            (key.starts_with("jwks_") && !matches!(key, "jwks_url" | "jwks_file" | "jwks_cache_ttl"))
                || matches!(key, "algorithms" | "required_claims")
        };
        for (key, place) in own.keys.iter().filter(|(key, _)| is_inherited(key)) {
            places.keys.entry(key.clone()).or_insert_with(|| place.clone());
        }
        places
    }

    /// Of the short form, some of whose keys are in `[general]`.
    pub(super) fn of_short(general: &Section<'_>, own: &Self) -> Self {
        let mut places = own.clone();
        for (key, name) in [
            ("jwks_url", "jwt_jwks_url"),
            ("jwks_cache_ttl", "jwt_jwks_cache_ttl"),
            ("key_files", "jwt_public_key_file"),
            ("audiences", "jwt_audience"),
            ("username_claim", "jwt_username_claim"),
            ("user_suffix", "jwt_user_suffix"),
        ] {
            places.keys.insert(key.to_owned(), (name.to_owned(), general.spot(name)));
        }
        places
    }

    /// Of a rule, of which only that is known.
    pub(super) fn at(header: Spot) -> Self {
        Self { header, keys: BTreeMap::new() }
    }

    fn find<'a>(&'a self, key: &'a str) -> (&'a str, &'a Spot) {
        self.keys.get(key).map_or((key, &self.header), |(name, spot)| (name, spot))
    }
}

/// Reports what the core finds wrong, but for places where something was found already. While tokens are off, that is what is
/// wrong with issuers alone.
pub(super) fn report(section: &Section<'_>, core: &JwtConfig, is_on: bool, place_of: impl Fn(Part) -> Option<Places>) {
    for Finding { part, key, fault } in findings(core) {
        let is_said_elsewhere = matches!(fault, Fault::NoIssuer);
        let Some(places) = place_of(part).filter(|_| !is_said_elsewhere) else { continue };
        if !is_on && !matches!(part, Part::Issuer(_)) {
            continue;
        }
        let (name, spot) = places.find(key);
        if is_reported(section, name, spot) {
            continue;
        }
        let reason = match fault {
            Fault::Setting { problem, .. } => format!("\"{name}\" {problem}"),
            Fault::RoleMapping { problem, .. } => problem,
            fault => fault.to_string(),
        };
        section.report.error(spot.clone(), reason);
    }
}

/// Whether there is an error in this place. Where nobody knows the line, one that speaks of the key.
fn is_reported(section: &Section<'_>, name: &str, spot: &Spot) -> bool {
    let named = format!("\"{name}\"");
    let is_it = |problem: &Problem| spot.position.is_some() || problem.reason.contains(&named);
    section.report.errors.borrow().iter().filter(|problem| problem.spot == *spot).any(is_it)
}
