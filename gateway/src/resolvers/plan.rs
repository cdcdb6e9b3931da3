//! In which order resolvers run: each behind those that it depends on, those that do not depend on each other together.

use crate::config::{Param, Resolver};

/// A resolver that depends on itself, by its number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle(pub(crate) usize);

/// The numbers of the resolvers that are `meant`, wave by wave.
pub(crate) fn waves(resolvers: &[Resolver], meant: impl Fn(&Resolver) -> bool) -> Result<Vec<Vec<usize>>, Circle> {
    let mut left: Vec<usize> = (0..resolvers.len()).filter(|at| resolvers.get(*at).is_some_and(&meant)).collect();
    let mut waves = Vec::new();
    while let Some(first) = left.first() {
        let waits = |at: usize| left.iter().any(|other| depends(resolvers, at, *other));
        let (later, now): (Vec<usize>, Vec<usize>) = left.iter().partition(|at| waits(**at));
        if now.is_empty() {
            return Err(Circle(*first));
        }
        waves.push(now);
        left = later;
    }
    Ok(waves)
}

/// Whether one needs the other first: it says so, or a parameter is a variable of the other's.
fn depends(resolvers: &[Resolver], one: usize, other: usize) -> bool {
    let (Some(one), Some(other)) = (resolvers.get(one), resolvers.get(other)) else { return false };
    let uses = |name: &String| one.params.contains(&Param::Variable(name.clone()));
    one.depends_on.contains(&other.name) || other.inject.iter().any(|(name, _)| uses(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OnNull;

    fn resolver(name: &str, depends_on: &[&str], uses: &[&str]) -> Resolver {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Resolver {
            name: name.to_owned(),
            query: String::new(),
            params: owned(uses).into_iter().map(Param::Variable).collect(),
            inject: vec![(format!("app.{name}"), "x".to_owned())],
            required: false,
            depends_on: owned(depends_on),
            cache_ttl: std::time::Duration::ZERO,
            on_null: OnNull::Unset,
            databases: None,
        }
    }

    #[test]
    fn what_is_independent_runs_together() {
        let all = [resolver("c", &["a"], &["app.b"]), resolver("a", &[], &[]), resolver("b", &[], &[])];
        assert_eq!(waves(&all, |_| true), Ok(vec![vec![1, 2], vec![0]]));
        assert_eq!(waves(&all, |resolver| resolver.name != "a"), Ok(vec![vec![2], vec![0]]));
    }

    #[test]
    fn circles_are_found() {
        let all = [resolver("a", &[], &["app.c"]), resolver("b", &["a"], &[]), resolver("c", &["b"], &[])];
        assert_eq!(waves(&all, |_| true), Err(Circle(0)));
        assert_eq!(waves(&[resolver("a", &["a"], &[])], |_| true), Err(Circle(0)));
    }
}
