//! `preset` of `[[jwt.issuers]]`, and the pages of `docs/issuers/`.

use pgdog_jwt::config::{Algorithm, Issuer, KeySource, Wanted};

use super::*;
use pgdog_jwt::reader::Preset;

const GENERAL: &str = "[general]\nauth_type = \"jwt\"\njwt_server_user = \"gateway\"\njwt_audience = \"of-the-short-form\"\n\
                       [[databases]]\nname = \"app\"\nhost = \"127.0.0.1\"\n[[jwt.issuers]]\n";
const PAGES: [(&str, &str); 10] = [
    ("auth0", include_str!("../../../../docs/issuers/auth0.md")),
    ("cognito", include_str!("../../../../docs/issuers/cognito.md")),
    ("entra", include_str!("../../../../docs/issuers/entra.md")),
    ("github-actions", include_str!("../../../../docs/issuers/github-actions.md")),
    ("gitlab-ci", include_str!("../../../../docs/issuers/gitlab-ci.md")),
    ("google", include_str!("../../../../docs/issuers/google.md")),
    ("introspection", include_str!("../../../../docs/issuers/introspection.md")),
    ("keycloak", include_str!("../../../../docs/issuers/keycloak.md")),
    ("kubernetes", include_str!("../../../../docs/issuers/kubernetes.md")),
    ("okta", include_str!("../../../../docs/issuers/okta.md")),
];

fn issuer(lines: &str) -> Issuer {
    let jwt = load(&format!("{GENERAL}{lines}"), "").config.jwt.expect("token users");
    jwt.core.issuers.into_iter().next().expect("an issuer")
}

fn url(issuer: &Issuer) -> &str {
    match &issuer.keys {
        KeySource::Jwks(source) => &source.url,
        other => panic!("{other:?}"),
    }
}

/// The blocks of TOML in a page.
fn blocks(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn every_page_has_a_configuration_that_loads() {
    for (name, page) in PAGES {
        let [text] = blocks(page).try_into().expect(name);
        let env = [("INTROSPECTION_SECRET", "the-secret")];
        let loaded = load_with(text, "", &env).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(warnings(&loaded), [""; 0], "{name}");
        let jwt = loaded.config.jwt.expect("token users");
        assert_eq!(jwt.core.issuers.len(), 1, "{name}");
        let presets: Vec<_> = jwt.presets.iter().map(|filled| filled.preset.word()).collect();
        let expected = Some(name).filter(|name| *name != "introspection");
        assert_eq!(presets, expected.into_iter().collect::<Vec<_>>(), "{name}");
        // That of Kubernetes needs a file that only pods have.
        if name != "kubernetes" {
            pgdog_jwt::Authenticator::new(jwt.core).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn the_overview_has_every_preset() {
    let overview = include_str!("../../../../docs/issuers/README.md");
    let config = include_str!("../../../../docs/configuration.md");
    for (word, _) in Preset::ALL {
        assert!(overview.matches(&format!("| `{word}` |")).count() == 2, "{word}");
        assert!(config.contains(&format!("`{word}`")), "{word}");
        assert!(PAGES.iter().any(|(name, _)| name == word), "{word}");
    }
}

/// What each page says of ID tokens is there, since the audience alone tells some of them apart.
#[test]
fn every_page_says_what_happens_with_id_tokens() {
    for (name, page) in PAGES {
        assert!(page.contains("- **ID tokens"), "{name}");
    }
}

#[test]
fn what_the_entry_says_goes_before_the_preset() {
    let preset = issuer("preset = \"keycloak\"\nissuer = \"https://k/realms/r\"\n");
    assert_eq!(preset.username_claim, "preferred_username");
    assert_eq!(url(&preset), "https://k/realms/r/protocol/openid-connect/certs");
    assert_eq!(preset.audiences, ["of-the-short-form"]);
    let own = issuer(
        "preset = \"keycloak\"\nissuer = \"https://k/realms/r\"\nusername_claim = \"email\"\njwks_url = \"https://own/keys\"\n\
         algorithms = [\"ES384\"]\ntoken_types = []\nrequired_claims = { typ = \"ID\", groups = { contains = \"db\" } }\n\
         audiences = [\"own\"]\njwks_timeout = 7\n",
    );
    assert_eq!((own.username_claim.as_str(), url(&own)), ("email", "https://own/keys"));
    assert_eq!((own.algorithms, own.audiences), (vec![Algorithm::ES384], vec!["own".to_owned()]));
    assert!(own.token_types.is_empty());
    let claims: Vec<_> = own.required_claims.iter().map(|required| required.claim.as_str()).collect();
    assert_eq!(claims, ["typ", "groups"]);
    assert_eq!(own.required_claims[0].wanted, Wanted::OneOf(vec!["ID".into()]));
    let files = issuer("preset = \"keycloak\"\nissuer = \"https://k/realms/r\"\nkey_files = [\"a.pem\"]\n");
    assert_eq!(files.keys, KeySource::PemFiles(vec!["a.pem".into()]));
}

#[test]
fn a_clusters_own_token_is_for_its_api_server_alone() {
    let text = "preset = \"kubernetes\"\nissuer = \"https://k\"\n";
    let source = |issuer: Issuer| match issuer.keys {
        KeySource::Jwks(source) => source,
        other => panic!("{other:?}"),
    };
    let own = source(issuer(text));
    let file = |name: &str| Some(format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}").into());
    assert_eq!((own.ca_file, own.bearer_token_file), (file("ca.crt"), file("token")));
    let elsewhere = source(issuer(&format!("{text}jwks_url = \"https://keys.example\"\n")));
    assert_eq!((elsewhere.ca_file, elsewhere.bearer_token_file), (None, None));
    let changed = source(issuer(&format!("{text}jwks_bearer_token_file = \"/run/token\"\n")));
    assert_eq!((changed.ca_file, changed.bearer_token_file), (file("ca.crt"), Some("/run/token".into())));
}

#[test]
fn what_was_filled_in_is_known() {
    let text =
        format!("{GENERAL}preset = \"cognito\"\nissuer = \"https://c\"\nclients = \"x\"\nusername_claim = \"sub\"\n");
    let jwt = load(&text, "").config.jwt.expect("token users");
    let filled = jwt.preset_of(Some("https://c")).expect("a preset");
    assert_eq!(filled.text(), "cognito, which fills in jwks_url, algorithms, required_claims");
    assert!(jwt.core.issuers[0].audiences.is_empty(), "tokens that name no audience pass");
    assert!(jwt.preset_of(Some("https://d")).is_none() && jwt.preset_of(None).is_none());
}

#[test]
fn issuers_of_everybody_need_to_hear_who_is_meant() {
    let refused = |lines: &str| errors(&format!("{GENERAL}{lines}"), "").join("\n");
    for preset in ["github-actions", "gitlab-ci"] {
        let plain = format!("preset = \"{preset}\"\n");
        assert!(refused(&plain).contains("anybody can get a token"), "{preset}");
        let present = format!("{plain}required_claims = {{ sub = {{ present = true }}, ref = \"x\" }}\n");
        assert!(refused(&present).contains("anybody can get a token"), "{preset}");
        issuer(&format!("{plain}required_claims = {{ sub = \"x\" }}\n"));
    }
    assert!(refused("preset = \"cognito\"\nissuer = \"https://c\"\n").contains("set \"clients\""));
    for name in ["https://login.microsoftonline.com/common/v2.0", "https://login.microsoftonline.us/x/v2.0"] {
        let entra = format!("preset = \"entra\"\nissuer = \"{name}\"\njwks_url = \"https://k\"\n");
        assert!(refused(&entra).contains("one tenant"), "{name}");
        issuer(&format!("{entra}required_claims = {{ tid = \"x\" }}\n"));
    }
    let google = load(&format!("{GENERAL}preset = \"google\"\n"), "");
    assert!(warnings(&google).iter().any(|warning| warning.contains("hd")), "{:?}", google.warnings);
    assert!(refused("preset = \"azure\"\nissuer = \"https://c\"\n").contains("must be one of"));
    assert!(refused("preset = \"keycloak\"\n").contains("needs an \"issuer\""));
}
