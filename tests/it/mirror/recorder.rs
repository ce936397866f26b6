//! A mirror that records the copies that it gets, each with its body.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::support::backend::{field, head, service, slice};

/// Listens on a port of 127.0.0.1 until the process ends.
pub struct Recorder {
    pub port: u16,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let requests = Arc::new(Mutex::default());
        let all = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all: Arc<Mutex<_>> = all.clone();
                thread::spawn(move || serve(&stream, &all));
            }
        });
        Self { port, requests }
    }

    /// Returns the head and the body of each copy so far.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Its Service and EndpointSlice, called `mirror`.
    pub fn manifests(&self) -> String {
        service("mirror", "") + &slice("mirror", &[self.port])
    }
}

fn serve(mut stream: &TcpStream, all: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(stream);
    while let Some(head) = head(&mut reader) {
        let length = field(&head, "content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        all.lock().expect("no panic").push((head, body));
        let response = b"HTTP/1.1 500 Dropped\r\nContent-Length: 5\r\n\r\nnever";
        if stream.write_all(response).is_err() {
            return;
        }
    }
}
