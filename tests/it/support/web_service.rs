//! An HTTP/1.1 service whose responses a test defines.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The requests that came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// Listens on a port of 127.0.0.1 and responds to each request with the status and the JSON that
/// the test returns.
#[derive(Debug)]
pub struct WebService {
    pub port: u16,
}

impl WebService {
    pub fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + 'static) -> Self {
        Self::with_headers(move |asked| {
            let (status, body) = answer(asked);
            (status, String::new(), body)
        })
    }

    /// As [`Self::start`], with lines of more headers, each with its end, before the body.
    pub fn with_headers(answer: impl Fn(&Asked) -> (u16, String, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(asked) = read(&stream) {
                    let (status, more, body) = answer(&asked);
                    let head = "Content-Type: application/json\r\nConnection: close\r\n";
                    let length = body.len();
                    let _ = write!(
                        &stream,
                        "HTTP/1.1 {status} X\r\n{head}{more}Content-Length: {length}\r\n\r\n{body}"
                    );
                }
            }
        });
        Self { port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}
