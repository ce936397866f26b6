//! Limits as plain, bounded state machines.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Client connections: how many in all and per client address.
#[derive(Debug)]
pub struct Connections {
    max: usize,
    max_per_client: usize,
    open: AtomicUsize,
    /// Only addresses with open connections are in it, so it never holds more than `max` entries.
    per_client: Mutex<HashMap<IpAddr, usize>>,
}

/// One admitted connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    connections: Arc<Connections>,
    client: Option<IpAddr>,
}

impl Connections {
    /// Limits; `max_per_client` 0 means none.
    pub fn new(max: usize, max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_client, open: AtomicUsize::new(0), per_client: Mutex::default() })
    }

    /// Admits a connection, or `None` when a limit is reached.
    pub fn admit(self: &Arc<Self>, client: IpAddr) -> Option<Permit> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut permit = Permit { connections: self.clone(), client: None };
        if self.max_per_client > 0 {
            let mut clients = self.per_client.lock().expect("no code panics under this lock");
            let open = clients.entry(client).or_insert(0);
            if *open >= self.max_per_client {
                return None;
            }
            *open += 1;
            permit.client = Some(client);
        }
        Some(permit)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut clients = self.connections.per_client.lock().expect("no code panics under this lock");
            if let Some(open) = clients.get_mut(&client) {
                *open -= 1;
                if *open == 0 {
                    clients.remove(&client);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn the_limit_in_all_holds_and_permits_come_back() {
        let connections = Connections::new(2, 0);
        let first = connections.admit(A).expect("room");
        let _second = connections.admit(A).expect("room");
        assert!(connections.admit(B).is_none());
        drop(first);
        assert!(connections.admit(B).is_some());
        assert_eq!(connections.open(), 1);
    }

    #[test]
    fn one_client_cannot_take_the_share_of_another() {
        let connections = Connections::new(10, 2);
        let held: Vec<_> = (0..2).map(|_| connections.admit(A).expect("room")).collect();
        assert!(connections.admit(A).is_none());
        assert_eq!(connections.open(), 2);
        assert!(connections.admit(B).is_some());
        drop(held);
        assert!(connections.admit(A).is_some());
        assert!(connections.per_client.lock().expect("lock").is_empty());
    }
}
