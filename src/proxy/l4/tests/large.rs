//! Large transfers, which go through pipes.

use super::*;
use crate::proxy::l4::splice::{self, Pipes};

/// The bytes of a large transfer.
const LARGE: usize = 100 << 20;
/// The length after which the pattern of bytes begins again: a prime, so that no buffer fits it.
const PERIOD: usize = 1_048_573;

/// Writes this many bytes of the pattern.
fn send(mut stream: &TcpStream, length: usize) -> std::io::Result<()> {
    let pattern = pattern(PERIOD);
    let mut left = length;
    while left > 0 {
        let part = left.min(PERIOD);
        stream.write_all(&pattern[..part])?;
        left -= part;
    }
    Ok(())
}

/// Reads to the end, or so many bytes. Returns their number; each must be that of the pattern.
fn check(mut stream: &TcpStream, most: usize) -> std::io::Result<usize> {
    let twice = pattern(PERIOD).repeat(2);
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    while total < most {
        let room = buffer.len().min(most - total);
        let length = stream.read(&mut buffer[..room])?;
        if length == 0 {
            break;
        }
        let from = total % PERIOD;
        assert!(buffer[..length] == twice[from..from + length], "at {total}");
        total += length;
    }
    Ok(total)
}

/// Reads a period from each client in turn until bytes for one wait in a pipe: a transfer has one
/// only while much arrives at a time. Returns the bytes that each has read.
fn until_bytes_wait(front: &Front, clients: &[TcpStream]) -> usize {
    let began = Instant::now();
    let mut total = 0;
    while front.shared.memory.outside() == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "bytes wait");
        for stream in clients {
            assert_eq!(check(stream, PERIOD).expect("read"), PERIOD);
        }
        total += PERIOD;
        thread::sleep(Duration::from_millis(20));
    }
    total
}

/// Returns the bytes that went through pipes.
fn spliced(front: &Front) -> u64 {
    let cores = front.shared.counters();
    cores.iter().map(|core| core.spliced.value()).sum()
}

/// Returns the bytes from clients and to clients, and the connections that have ended.
fn counted(front: &Front) -> (u64, u64, u64) {
    let cores = front.shared.counters();
    let sum = |of: fn(&crate::proxy::counters::PortCounters) -> u64| -> u64 {
        cores.iter().map(|core| of(&core.tcp)).sum()
    };
    (
        sum(|tcp| tcp.received.value()),
        sum(|tcp| tcp.sent.value()),
        sum(|tcp| tcp.ended.value()),
    )
}

fn of_one_core(pipes: usize) -> Settings {
    Settings {
        workers: 1,
        pipes,
        ..Settings::default()
    }
}

/// Transfers bytes in both directions at once, through an endpoint that checks and sends.
fn both_ways(address: SocketAddr, length: usize) {
    let stream = connect(address);
    thread::scope(|scope| {
        scope.spawn(|| {
            send(&stream, length).expect("sent");
            stream.shutdown(Shutdown::Write).expect("the end");
        });
        assert_eq!(check(&stream, usize::MAX).expect("read"), length);
    });
}

/// Starts an endpoint that sends this many bytes while it checks those that it receives.
fn exchanging(length: usize) -> SocketAddr {
    endpoint(move |stream| {
        thread::scope(|scope| {
            scope.spawn(|| {
                send(&stream, length).expect("sent");
                stream.shutdown(Shutdown::Write).expect("the end");
            });
            assert_eq!(check(&stream, usize::MAX).expect("read"), length);
        });
    })
}

#[test]
fn every_byte_of_a_large_transfer_arrives() {
    let mut front = Front::new(of_one_core(16));
    both_ways(front.open(&[exchanging(LARGE)]), LARGE);
    wait("the connection ends", || counted(&front).2 == 1);
    assert_eq!(counted(&front), (LARGE as u64, LARGE as u64, 1));
    assert!(spliced(&front) > LARGE as u64 / 2, "{}", spliced(&front));
    assert_eq!(front.shared.memory.outside(), 0);
}

#[test]
fn transfers_without_a_pipe_are_copied() {
    let mut front = Front::new(of_one_core(0));
    both_ways(front.open(&[exchanging(MUCH)]), MUCH);
    assert_eq!(spliced(&front), 0);

    // More transfers than pipes.
    let mut front = Front::new(of_one_core(1));
    let address = front.open(&[exchanging(MUCH)]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| both_ways(address, MUCH));
        }
    });
    assert!(spliced(&front) > 0);
}

#[test]
fn a_half_close_keeps_what_is_in_a_pipe() {
    let mut front = Front::new(of_one_core(16));
    // The endpoint is late, so that pipes are full when the client ends.
    let late = endpoint(|stream| {
        assert_eq!(check(&stream, MUCH / 2).expect("read"), MUCH / 2);
        thread::sleep(Duration::from_millis(300));
        let rest = pattern(PERIOD).repeat(2);
        let mut bytes = Vec::new();
        (&stream).read_to_end(&mut bytes).expect("the end");
        let mut at = MUCH / 2 % PERIOD;
        for part in bytes.chunks(PERIOD) {
            assert!(*part == rest[at..at + part.len()]);
            at = (at + part.len()) % PERIOD;
        }
        assert_eq!(bytes.len(), MUCH - MUCH / 2);
        send(&stream, MUCH).expect("sent after the end of the client");
    });
    let stream = connect(front.open(&[late]));
    send(&stream, MUCH).expect("sent");
    stream.shutdown(Shutdown::Write).expect("the end");
    assert_eq!(check(&stream, usize::MAX).expect("read"), MUCH);
    wait("the connection ends", || counted(&front).2 == 1);
    assert!(spliced(&front) > 0);
}

#[test]
fn a_reset_amid_a_transfer_spoils_no_other_one() {
    let mut front = Front::new(of_one_core(1));
    let resetting = endpoint(|stream| {
        check(&stream, MUCH).expect("read");
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    });
    let resetting = front.open(&[resetting]);
    let good = front.open(&[exchanging(MUCH)]);
    for round in 1..=5 {
        // The client never ends by itself.
        let stream = connect(resetting);
        assert!(send(&stream, usize::MAX / 2).is_err());
        wait("it ends", || counted(&front).2 == round * 2 - 1);
        assert_eq!(front.shared.memory.outside(), 0);

        let before = spliced(&front);
        both_ways(good, MUCH);
        wait("it ends", || counted(&front).2 == round * 2);
        assert!(spliced(&front) > before, "the pipe has been given back");
    }
}

#[test]
fn clients_that_do_not_read_hold_little_in_pipes() {
    // More than pipes. Each holds megabytes in the kernel, which has a bound for all of TCP.
    const CLIENTS: usize = 4;
    let mut front = Front::new(of_one_core(2));
    let sending = endpoint(|stream| drop(send(&stream, usize::MAX / 2)));
    let address = front.open(&[sending]);
    let stalled: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    until_bytes_wait(&front, &stalled);
    let memory = &front.shared.memory;

    // All buffers are full once nothing is moved any more.
    let mut before = counted(&front).1;
    loop {
        thread::sleep(Duration::from_millis(500));
        let moved = counted(&front).1;
        if moved == before {
            break;
        }
        before = moved;
    }
    let outside = memory.outside();
    assert!(outside <= 2 * splice::MOST as u64, "{outside}");

    // Another transfer has its turn, and what had waited arrives.
    assert_eq!(check(&connect(address), MUCH).expect("read"), MUCH);
    for stream in &stalled {
        assert_eq!(check(stream, MUCH).expect("read"), MUCH);
    }
    drop(stalled);
    wait("nothing waits", || memory.outside() == 0);
}

#[test]
fn a_slow_reader_has_all_before_a_drain_ends() {
    let mut front = Front::new(of_one_core(8));
    let sending = endpoint(|stream| drop(send(&stream, MUCH)));
    let stream = connect(front.open(&[sending]));
    let mut total = until_bytes_wait(&front, std::slice::from_ref(&stream));
    front.signal.drain(Duration::from_secs(60));
    let began = Instant::now();
    while total < MUCH && began.elapsed() < Duration::from_secs(50) {
        let mut buffer = vec![0; 1 << 20];
        let length = (&stream).read(&mut buffer).expect("read");
        assert_ne!(length, 0, "after {total}");
        total += length;
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(total, MUCH);
}

#[test]
fn small_exchanges_go_on_beside_large_transfers() {
    let mut front = Front::new(of_one_core(16));
    let sending = endpoint(|stream| drop(send(&stream, usize::MAX / 2)));
    let (large, small) = (front.open(&[sending]), front.open(&[echo()]));
    let transfers: Vec<TcpStream> = (0..2).map(|_| connect(large)).collect();
    thread::scope(|scope| {
        for stream in &transfers {
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                let mut reading = stream;
                while reading.read(&mut buffer).is_ok_and(|length| length > 0) {}
            });
        }
        wait("they are large", || spliced(&front) > LARGE as u64);

        // Each has the time that a reader waits, and would fail if the core did nothing else.
        let stream = connect(small);
        for _ in 0..20 {
            assert_eq!(exchange(&stream, b"x"), b"x");
        }
        for stream in &transfers {
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
}

#[test]
fn a_core_has_so_many_pipes_and_no_more() {
    let pipes = Pipes::new(2);
    assert_eq!(pipes.count(), (0, 0), "none is open before it is needed");
    let taken = [pipes.take(), pipes.take()];
    assert!(taken.iter().all(Option::is_some) && pipes.take().is_none());
    drop(taken);
    assert_eq!(pipes.count(), (2, 2));
    assert!(pipes.take().is_some());
    assert!(Pipes::new(0).take().is_none());
}
