use super::*;
use crate::json::parse_object;

fn variable(name: &str, template: &str) -> OneVariable {
    OneVariable::new(name, Template::parse(template).unwrap())
}

fn evaluated(variables: &[Variable], claims: &str) -> Result<Vec<(String, String)>, DenyReason> {
    evaluate(variables, &parse_object(claims.as_bytes()).unwrap())
}

fn one(variable: OneVariable, claims: &str) -> Result<String, DenyReason> {
    evaluated(&[Variable::One(Box::new(variable))], claims).map(|values| values[0].1.clone())
}

#[test]
fn a_missing_claim_is_the_default_and_never_nothing() {
    assert_eq!(one(variable("app.t", "{t}"), "{}").unwrap(), "");
    let with_default = OneVariable { default: "none".to_owned(), ..variable("app.t", "{t}") };
    assert_eq!(one(with_default.clone(), "{}").unwrap(), "none");
    assert_eq!(one(with_default.clone(), r#"{"t":null}"#).unwrap(), "none");
    assert_eq!(one(with_default, r#"{"t":"a"}"#).unwrap(), "a");
}

#[test]
fn a_required_one_must_say_something() {
    let required = OneVariable { required: true, ..variable("app.t", "{t}") };
    for claims in ["{}", r#"{"t":null}"#, r#"{"t":""}"#] {
        assert_eq!(one(required.clone(), claims), Err(DenyReason::MissingVariable("app.t".to_owned())), "{claims}");
    }
    assert_eq!(one(required, r#"{"t":"a"}"#).unwrap(), "a");
}

#[test]
fn values_are_of_their_kind_and_length() {
    let int = OneVariable { kind: Kind::Int, max_length: 3, ..variable("app.n", "{n}") };
    assert_eq!(one(int.clone(), r#"{"n":123}"#).unwrap(), "123");
    for claims in [r#"{"n":1234}"#, r#"{"n":"x"}"#, r#"{"n":1.5}"#] {
        assert_eq!(one(int.clone(), claims), Err(DenyReason::InvalidVariable("app.n".to_owned())), "{claims}");
    }
    assert!(one(variable("app.t", "{t}"), r#"{"t":"a\u0000b"}"#).is_err());
    assert!(one(variable("app.t", "{t}"), &format!("{{\"t\":\"{}\"}}", "x".repeat(8193))).is_err());
}

#[test]
fn names_are_what_postgresql_takes() {
    for good in ["app.t", "a.b.c", "_a._b", "app.t_1"] {
        assert!(is_name(good), "{good}");
    }
    for bad in
        ["app", "", ".", "app.", ".t", "app..t", "App.t", "app.1", "app.t-x", "app.t x", "app.é", "role", "a.b;c"]
    {
        assert!(!is_name(bad), "{bad}");
    }
}

#[test]
fn metadata_cannot_take_the_place_of_the_identity() {
    let claims = r#"{"tenant_id":"acme","user_id":"u","metadata":{"tenant_id":"evil","region":"eu"}}"#;
    let values = evaluated(&preset("orochi").unwrap(), claims).unwrap();
    let get = |name: &str| values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    assert_eq!(get("orochi.tenant_id"), Some("acme"));
    assert_eq!(get("orochi.metadata.region"), Some("eu"));
    assert_eq!(get("orochi.metadata.tenant_id"), Some("evil"), "harmless there");
    assert_eq!(get("orochi.read_only"), Some(""));
    for bad in [r#""x; DROP TABLE t""#, r#""a.b;c""#, r#""A""#, r#""""#] {
        let claims = format!("{{\"metadata\":{{{bad}:\"x\"}}}}");
        assert!(evaluated(&preset("orochi").unwrap(), &claims).is_err(), "{bad}");
    }
    assert!(evaluated(&preset("orochi").unwrap(), r#"{"metadata":{"a":{"b":1}}}"#).is_err());
    assert!(evaluated(&preset("orochi").unwrap(), r#"{"metadata":["a"]}"#).is_err());
}

#[test]
fn postgrest_leaves_out_what_cannot_be_a_variable() {
    let claims = r#"{"sub":"alice","https://example.com/x":"y","roles":["a"],"n":1}"#;
    let values = evaluated(&preset("postgrest").unwrap(), claims).unwrap();
    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["request.jwt.claim.n", "request.jwt.claim.sub", "request.jwt.claims"]);
}

#[test]
fn every_preset_is_there_and_protected() {
    for name in PRESETS {
        let variables = preset(name).unwrap();
        assert!(variables.iter().all(|variable| variable.pattern().contains('.')));
    }
    assert_eq!(preset("nobody"), None);
}

#[test]
fn a_family_is_bounded() {
    let many: Vec<String> = (0..65).map(|number| format!("\"k{number}\":1")).collect();
    let claims = format!("{{\"metadata\":{{{}}}}}", many.join(","));
    assert!(evaluated(&preset("orochi").unwrap(), &claims).is_err());
}
