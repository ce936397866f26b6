//! A plain HTTP/1.1 backend whose responses contain its name and the request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::gatelet::NODE;

/// Listens on a port of 127.0.0.1 and responds to every request with its name, the request's head
/// and its body.
///
/// Some paths change that: `/slow/MS` waits before the response, `/bytes/N` returns N bytes,
/// `/drip/N` sends N chunks of one byte, one every 50 ms, `/status/CODE` returns that status,
/// `/hang` never responds, `/stuck` does not even read the body. A body over 64 KiB is counted, not
/// kept.
#[derive(Debug)]
pub struct Backend {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    name: String,
    requests: AtomicU64,
    /// Bytes of request bodies so far.
    received: AtomicU64,
    /// Bytes of responses to `/bytes` so far.
    sent: AtomicU64,
    /// Connections that ended while a request waited for its response.
    abandoned: AtomicU64,
    stopping: AtomicBool,
    idle: Mutex<Vec<(u64, Arc<TcpStream>)>>,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        Self::on(name, 0)
    }

    /// The same on a port that must be free.
    pub fn on(name: &str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state = Arc::new(State {
            name: name.to_owned(),
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            idle: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for (id, stream) in (0..).zip(listener.incoming().flatten()) {
                if shared.stopping.load(SeqCst) {
                    return;
                }
                let state = shared.clone();
                thread::spawn(move || serve(&Arc::new(stream), id, &state));
            }
        });
        Self { port, state }
    }

    /// Requests so far.
    pub fn count(&self) -> u64 {
        self.state.requests.load(SeqCst)
    }

    /// Bytes of request bodies so far.
    pub fn received(&self) -> u64 {
        self.state.received.load(SeqCst)
    }

    /// Bytes of responses to `/bytes` so far.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(SeqCst)
    }

    /// Returns the number of requests whose connection ended before the response.
    pub fn abandoned(&self) -> u64 {
        self.state.abandoned.load(SeqCst)
    }

    /// Ends like a terminating pod: accepts no new connections, finishes requests in flight, closes
    /// idle connections.
    pub fn stop(&self) {
        self.state.stopping.store(true, SeqCst);
        // Wakes the accept loop, which then drops its listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for (_, stream) in self.state.idle.lock().expect("no panic").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// A Service without selector, its EndpointSlice and an Ingress for `host`, all called `name`.
    pub fn manifests(&self, name: &str, host: &str) -> String {
        manifests(name, host, self.port)
    }
}

/// The same for any port of 127.0.0.1.
pub fn manifests(name: &str, host: &str, port: u16) -> String {
    format!(
        "{}{}{}",
        service(name, ""),
        slice(name, &[port]),
        ingress(name, host, "")
    )
}

/// A Service without selector; `more` goes into its port, such as `appProtocol: kubernetes.io/h2c`.
pub fn service(name: &str, more: &str) -> String {
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(", {more}")
    };
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: main, port: 80{more}}}]}}
---
"
    )
}

/// An EndpointSlice with an endpoint for each port of 127.0.0.1. It is for the mini cluster, which
/// alone connects to loopback. A slice has one list of ports, so each port is a slice of its own.
pub fn slice(name: &str, ports: &[u16]) -> String {
    let mut text = String::new();
    for (number, port) in (1..).zip(ports) {
        text += &format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{number}
  labels: {{kubernetes.io/service-name: {name}}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {NODE}}}]
ports: [{{name: main, port: {port}}}]
---
"
        );
    }
    text
}

/// An Ingress for `host` with the Service of the same name; `more` are further lines of the
/// document, such as a `tls` list of the spec.
pub fn ingress(name: &str, host: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  rules:
  - host: {host:?}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: \
    {{number: 80}}}}}}}}]}}
{more}
---
"
    )
}

fn serve(stream: &Arc<TcpStream>, id: u64, state: &State) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::with_capacity(64 * 1024, &**stream);
    loop {
        state
            .idle
            .lock()
            .expect("no panic")
            .push((id, stream.clone()));
        if state.stopping.load(SeqCst) {
            // The list keeps the descriptor open.
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        let head = head(&mut reader);
        state
            .idle
            .lock()
            .expect("no panic")
            .retain(|(other, _)| *other != id);
        let Some(head) = head else { return };
        state.requests.fetch_add(1, SeqCst);
        if answer(stream, &mut reader, &head, state).is_none() {
            state.abandoned.fetch_add(1, SeqCst);
            return;
        }
    }
}

/// A request head with its lines as they came, without the empty one.
pub fn head(reader: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(head);
        }
        head.push_str(&line);
    }
}

/// Returns the value of a field of a head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn answer(
    mut stream: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    head: &str,
    state: &State,
) -> Option<()> {
    let mut words = head.split(' ');
    let method = words.next()?;
    let mut path = words.next()?.split('?').next()?.split('/').skip(1);
    let (what, number) = (
        path.next()?,
        path.next()
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0),
    );
    if what == "stuck" {
        while !state.stopping.load(SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        return None;
    }
    let body = body(reader, head, state)?;
    match what {
        "hang" => {
            // Until the other side is gone.
            let _ = reader.read(&mut [0; 1]);
            return None;
        }
        "slow" => thread::sleep(Duration::from_millis(number)),
        "bytes" => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n");
            stream.write_all(head.as_bytes()).ok()?;
            let block = [b'x'; 64 * 1024];
            let mut left = number;
            while left > 0 && method != "HEAD" {
                let length = left.min(block.len() as u64);
                stream.write_all(&block[..length as usize]).ok()?;
                state.sent.fetch_add(length, SeqCst);
                left -= length;
            }
            return Some(());
        }
        "drip" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .ok()?;
            for _ in 0..number {
                stream.write_all(b"1\r\n.\r\n").ok()?;
                thread::sleep(Duration::from_millis(50));
            }
            stream.write_all(b"0\r\n\r\n").ok()?;
            return Some(());
        }
        _ => {}
    }
    let text = format!("{}\n{head}\n{body}", state.name);
    let status = if what == "status" { number } else { 200 };
    let length = if matches!(status, 204 | 304) {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", text.len())
    };
    let mut answer = format!("HTTP/1.1 {status} Said\r\nContent-Type: text/plain\r\n{length}\r\n");
    if method != "HEAD" && !length.is_empty() {
        answer += &text;
    }
    stream.write_all(answer.as_bytes()).ok()
}

/// Returns the body as text, or its length if it is long.
fn body(reader: &mut impl BufRead, head: &str, state: &State) -> Option<String> {
    const KEPT: u64 = 64 * 1024;
    let mut kept = Vec::new();
    let mut total = 0;
    let mut take = |reader: &mut dyn BufRead, mut left: u64| -> Option<()> {
        while left > 0 {
            let block = reader.fill_buf().ok().filter(|block| !block.is_empty())?;
            let length = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if total < KEPT {
                kept.extend_from_slice(&block[..length]);
            }
            reader.consume(length);
            state.received.fetch_add(length as u64, SeqCst);
            (total, left) = (total + length as u64, left - length as u64);
        }
        Some(())
    };
    if field(head, "transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let size = u64::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
            take(reader, size)?;
            // After the last chunk come trailers, then the empty line.
            loop {
                line.clear();
                reader
                    .read_line(&mut line)
                    .ok()
                    .filter(|length| *length > 0)?;
                if line == "\r\n" {
                    break;
                }
            }
            if size == 0 {
                break;
            }
        }
    } else {
        take(
            reader,
            field(head, "content-length")
                .and_then(|text| text.parse().ok())
                .unwrap_or(0),
        )?;
    }
    Some(if total > KEPT {
        format!("{total} bytes")
    } else {
        String::from_utf8_lossy(&kept).into_owned()
    })
}
