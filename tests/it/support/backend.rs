//! A plain HTTP/1.1 backend that says who it is and what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use super::gatelet::NODE;

/// Listens on a port of 127.0.0.1 and answers every request with its name and the request's head. It counts requests.
#[derive(Debug)]
pub struct Backend {
    pub port: u16,
    pub requests: Arc<AtomicU64>,
}

impl Backend {
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let requests = Arc::new(AtomicU64::new(0));
        let (name, counted) = (name.to_owned(), requests.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (name, counted) = (name.clone(), counted.clone());
                thread::spawn(move || serve(&stream, &name, &counted));
            }
        });
        Self { port, requests }
    }

    pub fn count(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// A Service without selector, its EndpointSlice and an Ingress for `host`, all called `name`.
    pub fn manifests(&self, name: &str, host: &str) -> String {
        manifests(name, host, self.port)
    }
}

/// The same for any port of 127.0.0.1; the slice is for the mini cluster, which alone connects to loopback.
pub fn manifests(name: &str, host: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80, targetPort: {port}}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  labels: {{kubernetes.io/service-name: {name}}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {NODE}}}]
ports: [{{port: {port}}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}}}
spec:
  rules:
  - host: {host}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}
---
"
    )
}

fn serve(stream: &TcpStream, name: &str, counted: &AtomicU64) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            head.push_str(&line);
        }
        counted.fetch_add(1, Relaxed);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let text = format!("{name}\n{head}\n{}", String::from_utf8_lossy(&body));
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if (&*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
