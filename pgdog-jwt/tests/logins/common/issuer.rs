//! An issuer on a loopback port, on threads of its own so that no runtime under test has to run for it to answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does with the next request.
#[derive(Clone)]
pub enum Behaviour {
    /// Answers with this status and body.
    Answer(u16, String),
    /// Answers so after a while.
    Slow(Duration, String),
    /// Accepts and says nothing.
    Hang,
    /// Sends these bytes and then says nothing.
    Stall(Vec<u8>),
    /// Sends a redirect.
    Redirect(String),
    /// Sends a body without end and without a length.
    Endless,
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
}

pub struct TestIssuer {
    pub url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    hits: Arc<AtomicUsize>,
}

impl TestIssuer {
    pub fn serving(body: String) -> Self {
        Self::new(Behaviour::Answer(200, body))
    }

    pub fn new(behaviour: Behaviour) -> Self {
        Self::listen("http", behaviour, answer)
    }

    /// Answers over TLS.
    pub fn serving_tls(body: String, tls: ServerConfig) -> Self {
        let tls = Arc::new(tls);
        Self::listen("https", Behaviour::Answer(200, body), move |stream, behaviour| {
            let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
            answer(StreamOwned::new(connection, stream), behaviour);
        })
    }

    fn listen(
        scheme: &str,
        behaviour: Behaviour,
        answer: impl Fn(TcpStream, Behaviour) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}/jwks", listener.local_addr().unwrap());
        let behaviour = Arc::new(Mutex::new(behaviour));
        let hits = Arc::new(AtomicUsize::new(0));
        let (current, count) = (Arc::clone(&behaviour), Arc::clone(&hits));
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let behaviour = current.lock().unwrap().clone();
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || answer(stream, behaviour));
            }
        });
        Self { url, behaviour, hits }
    }

    pub fn now(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub fn now_serving(&self, body: String) {
        self.now(Behaviour::Answer(200, body));
    }

    /// How often it was asked.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Waits until it was asked that often.
    pub async fn asked(&self, times: usize) {
        for _ in 0..500 {
            if self.hits() >= times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("asked {} times and not {times}", self.hits());
    }
}

fn answer(mut stream: impl Read + Write, behaviour: Behaviour) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
    let with_body = |status: u16, body: &str| {
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    };
    let response = match behaviour {
        Behaviour::Answer(status, body) => with_body(status, &body),
        Behaviour::Slow(pause, body) => {
            std::thread::sleep(pause);
            with_body(200, &body)
        }
        Behaviour::Hang => {
            let _ = stream.read(&mut buffer);
            return;
        }
        Behaviour::Stall(bytes) => {
            let _ = stream.write_all(&bytes);
            let _ = stream.flush();
            let _ = stream.read(&mut buffer);
            return;
        }
        Behaviour::Redirect(to) => {
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        }
        Behaviour::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[");
            while stream.write_all(&[b' '; 1024]).is_ok() {}
            return;
        }
        Behaviour::Bytes(bytes) => {
            let _ = stream.write_all(&bytes);
            return;
        }
    };
    let _ = stream.write_all(response.as_bytes());
    let _ = stream.flush();
}
