//! A server that checks logins: it records what it is asked, and responds as the test says.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use crate::support::backend::{field, head, service, slice};

/// The treatment of a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, and then the next request.
    Raw(String),
    /// These bytes, and the end of the connection.
    Last(String),
    /// Nothing, until the connection ends.
    Silence,
    /// By the cookie `pass`: 200 if it is `yes`, 401 if it is missing, 403 otherwise.
    Cookie,
}

/// Listens on a port of 127.0.0.1.
#[derive(Debug)]
pub struct AuthServer {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    reply: Mutex<Reply>,
    heads: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

/// Returns a response without a body.
pub fn response(status: u16, fields: &[(&str, &str)]) -> Reply {
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = match status {
        100..=199 | 204 | 304 => "",
        _ => "Content-Length: 0\r\n",
    };
    Reply::Raw(format!("HTTP/1.1 {status} Told\r\n{lines}{length}\r\n"))
}

impl AuthServer {
    pub fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            reply: Mutex::new(reply),
            heads: Mutex::default(),
            streams: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopping.load(SeqCst) {
                    return;
                }
                let kept = stream.try_clone().expect("a descriptor");
                shared.streams.lock().expect("no panic").push(kept);
                if shared.stopping.load(SeqCst) {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                let state = shared.clone();
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { port, state }
    }

    /// Replaces the treatment of requests.
    pub fn reply(&self, reply: Reply) {
        *self.state.reply.lock().expect("no panic") = reply;
    }

    /// Returns the number of requests so far.
    pub fn count(&self) -> usize {
        self.state.heads.lock().expect("no panic").len()
    }

    /// Returns the head of the last request; empty if there was none.
    pub fn last(&self) -> String {
        let heads = self.state.heads.lock().expect("no panic");
        heads.last().cloned().unwrap_or_default()
    }

    /// Ends all connections, and refuses further ones.
    pub fn stop(&self) {
        self.state.stopping.store(true, SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for stream in self.state.streams.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Returns its Service and EndpointSlice, called `auth`.
    pub fn manifests(&self) -> String {
        format!("{}{}", service("auth", ""), slice("auth", &[self.port]))
    }
}

fn serve(mut stream: &TcpStream, state: &State) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = head(&mut reader) {
        state.heads.lock().expect("no panic").push(head.clone());
        let reply = state.reply.lock().expect("no panic").clone();
        let (text, is_last) = match reply {
            Reply::Raw(text) => (text, false),
            Reply::Last(text) => (text, true),
            Reply::Silence => {
                let _ = reader.read_to_end(&mut Vec::new());
                return;
            }
            Reply::Cookie => {
                let status = match field(&head, "cookie") {
                    Some("pass=yes") => 200,
                    Some(_) => 403,
                    None => 401,
                };
                let Reply::Raw(text) = response(status, &[("X-User", "ann")]) else {
                    return;
                };
                (text, false)
            }
        };
        if stream.write_all(text.as_bytes()).is_err() || is_last {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}
