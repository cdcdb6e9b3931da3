//! A web server that answers each request as a function says, and remembers what it was asked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{TestKey, key_set};

/// What came: the first line and the headers, in lower case.
#[derive(Clone)]
pub struct Request(String);

impl Request {
    /// The path, with its query.
    pub fn path(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What goes back: a status, headers, a body.
pub struct Response(pub u16, pub Vec<(&'static str, String)>, pub String);

pub struct Site {
    pub url: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Site {
    /// The function is given this site's own URL too.
    pub fn new(answer: impl Fn(&str, &Request) -> Response + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (own, log) = (url.clone(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(length) => request.extend_from_slice(&buffer[..length]),
                    }
                }
                let request = Request(String::from_utf8_lossy(&request).to_lowercase());
                log.lock().unwrap().push(request.clone());
                let Response(status, headers, body) = answer(&own, &request);
                let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
                let _ = stream.write_all((head + &body).as_bytes());
            }
        });
        Self { url, asked }
    }

    /// An issuer with metadata and keys.
    pub fn with_metadata(key: &TestKey) -> Self {
        let set = key_set(&[key]);
        Self::new(move |url, request| match request.path() {
            "/.well-known/openid-configuration" => metadata(url, &format!("{url}/keys")),
            "/keys" => ok(&set),
            _ => Response(404, Vec::new(), String::new()),
        })
    }

    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// The paths that were asked for, in order.
    pub fn paths(&self) -> Vec<String> {
        self.asked().iter().map(|request| request.path().to_owned()).collect()
    }

    /// Waits until it was asked that often.
    pub async fn was_asked(&self, times: usize) {
        for _ in 0..500 {
            if self.asked().len() >= times {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("asked {} times and not {times}", self.asked().len());
    }
}

pub fn ok(body: &str) -> Response {
    Response(200, vec![("Content-Type", "application/json".to_owned())], body.to_owned())
}

pub fn metadata(issuer: &str, keys: &str) -> Response {
    ok(&json!({"issuer": issuer, "jwks_uri": keys}).to_string())
}
