//! Certificates in memory: PEM to key pair, the SNI map, the rustls resolver, tickets, the local CA.
