//! An issuer that is asked about tokens: it knows some, and writes down how it was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgdog_jwt::config::{ClientAuth, IntrospectionSource, Issuer, KeySource, Secret};
use pgdog_jwt::{Authenticator, JwtConfig};
use serde_json::{Value, json};

pub const NAME: &str = "https://opaque.example";
pub const TOKEN: &str = "ory_at_4qgaz7vDyHmt.W1kv~x+/0123456789==";

/// One request, its header names in lower case and its form decoded.
#[derive(Clone)]
pub struct Asked {
    pub line: String,
    pub headers: HashMap<String, String>,
    pub form: HashMap<String, String>,
}

/// What it says.
#[derive(Clone, Default)]
pub enum Says {
    /// What it knows of the token, or that it is not active.
    #[default]
    Truth,
    /// The same after a while.
    Slow(Duration),
    /// This, whatever it is asked.
    Raw(String),
    /// Nothing.
    Hang,
}

#[derive(Default)]
struct State {
    known: HashMap<String, Value>,
    asked: Vec<Asked>,
    says: Says,
}

#[derive(Clone)]
pub struct Endpoint {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Endpoint {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/introspect?tenant=one", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Self { url, state }
    }

    /// Knows this token from now on, as active with these claims beside the usual ones; `null` takes one away.
    pub fn issue(&self, token: &str, claims: &Value) {
        let mut all = json!({
            "active": true, "iss": NAME, "sub": "alice", "aud": "db", "token_type": "Bearer",
            "exp": crate::common::now() + 300, "scope": "read write", "client_id": "app",
        });
        for (name, value) in claims.as_object().unwrap() {
            match value {
                Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name.as_str()] = value.clone(),
            }
        }
        self.state.lock().unwrap().known.insert(token.to_owned(), all);
    }

    pub fn revoke(&self, token: &str) {
        self.state.lock().unwrap().known.remove(token);
    }

    pub fn now(&self, says: Says) {
        self.state.lock().unwrap().says = says;
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub fn hits(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    pub fn source(&self) -> IntrospectionSource {
        IntrospectionSource::new(&self.url, "gateway", ClientAuth::Basic(Secret::new("the-client-secret")))
    }

    pub fn issuer(&self, change: impl FnOnce(&mut IntrospectionSource)) -> Issuer {
        let mut source = self.source();
        change(&mut source);
        let mut issuer = Issuer::new(KeySource::None);
        issuer.issuer = Some(NAME.to_owned());
        issuer.audiences = vec!["db".to_owned()];
        issuer.introspection = Some(source);
        issuer
    }

    pub fn authenticator(&self, change: impl FnOnce(&mut IntrospectionSource)) -> Authenticator {
        Authenticator::new(JwtConfig::new(vec![self.issuer(change)])).unwrap()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(asked) = read(&mut stream) else { return };
    let token = asked.form.get("token").cloned().unwrap_or_default();
    let (says, known) = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked);
        (state.says.clone(), state.known.get(&token).cloned())
    };
    let body = known.unwrap_or_else(|| json!({"active": false})).to_string();
    let truth = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let response = match says {
        Says::Truth => truth,
        Says::Slow(pause) => {
            std::thread::sleep(pause);
            truth
        }
        Says::Raw(raw) => raw,
        Says::Hang => {
            let _ = stream.read(&mut [0; 1]);
            return;
        }
    };
    let _ = stream.write_all(response.as_bytes());
}

fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let line = lines.next()?.to_owned();
            let header =
                |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
            let headers: HashMap<_, _> = lines.filter_map(header).collect();
            let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                let form = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
                return Some(Asked { line, headers, form });
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
}

/// A whole HTTP answer with this status and body.
pub fn raw(status: u16, body: &str) -> Says {
    Says::Raw(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()))
}

/// No change of the usual endpoint.
pub fn plain(_: &mut IntrospectionSource) {}
