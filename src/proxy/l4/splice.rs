//! Pipes, through which the kernel moves bytes from one socket to another: the process neither
//! reads nor copies them. A core has a few, and a relay has one only while bytes are in it.

use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll, ready},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::{io::Interest, net::TcpStream};

use crate::proxy::memory::{self, Pressure};

/// The most bytes in a pipe, which are also what a receiver that reads nothing holds.
pub(super) const MOST: usize = 256 * 1024;

/// The pipes of a core.
#[derive(Debug)]
pub(crate) struct Pipes {
    most: usize,
    /// Those that are open, free ones included.
    open: Cell<usize>,
    free: RefCell<Vec<Ends>>,
    /// True after the system refused to splice.
    refused: Cell<bool>,
}

/// The two ends of an empty pipe.
#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

/// A pipe in use.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Absent only while it is dropped.
    ends: Option<Ends>,
    /// The bytes in it.
    len: usize,
    /// The part of them that counts for the memory budget.
    counted: usize,
    of: Rc<Pipes>,
}

impl Pipes {
    /// Creates a pool of at most this many pipes. None is open yet.
    pub(crate) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            most,
            open: Cell::new(0),
            free: RefCell::default(),
            refused: Cell::new(false),
        })
    }

    /// Returns an empty pipe; `None` if all are in use, no descriptor is left for another one, or
    /// little memory is left.
    pub(super) fn take(self: &Rc<Self>) -> Option<Pipe> {
        if self.refused.get() || memory::pressure() != Pressure::Low {
            return None;
        }

        let free = self.free.borrow_mut().pop();
        let ends = match free {
            Some(ends) => ends,
            None if self.open.get() >= self.most => return None,
            None => {
                let ends = Ends::open().ok()?;
                self.open.set(self.open.get() + 1);
                ends
            }
        };
        Some(Pipe {
            ends: Some(ends),
            len: 0,
            counted: 0,
            of: self.clone(),
        })
    }

    /// Returns the number of pipes that are open, and how many of them are free.
    #[cfg(test)]
    pub(super) fn count(&self) -> (usize, usize) {
        (self.open.get(), self.free.borrow().len())
    }
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user has only so much room for pipes. A smaller one does too.
        let _ = fcntl_setpipe_size(&writer, MOST);
        Ok(Self { reader, writer })
    }
}

impl Pipe {
    /// Returns true if no bytes are in it.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves bytes of a socket into the pipe, which must be empty: a full one looks like a socket
    /// without bytes. Returns their number, 0 at the end of the stream; `None` if the system cannot
    /// do it.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
    ) -> Poll<io::Result<Option<usize>>> {
        debug_assert!(self.is_empty());
        let ends = self.ends.as_ref().expect("it is in use");

        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &ends.writer, None, MOST, flags())?)
            });
            match moved {
                Ok(moved) => {
                    self.len = moved;
                    return Poll::Ready(Ok(Some(moved)));
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    ErrorKind::InvalidInput
                    | ErrorKind::Unsupported
                    | ErrorKind::PermissionDenied => {
                        self.of.refused.set(true);
                        return Poll::Ready(Ok(None));
                    }
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Moves bytes of the pipe to a socket, as far as that takes them. Returns their number.
    pub(super) fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let ends = self.ends.as_ref().expect("it is in use");

        loop {
            let Poll::Ready(ready) = to.poll_write_ready(cx) else {
                self.count(self.len);
                return Poll::Pending;
            };
            ready?;

            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&ends.reader, None, to, None, self.len, flags())?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(moved) => {
                    self.len = self.len.saturating_sub(moved);
                    return Poll::Ready(Ok(moved));
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => {}
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// Counts so many bytes for the memory budget: they wait in the kernel, for the process.
    fn count(&mut self, bytes: usize) {
        if bytes != self.counted {
            memory::wait_outside(self.counted, bytes);
            self.counted = bytes;
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.count(0);
        // One with the bytes of a connection that broke must not serve another one.
        match self.ends.take() {
            Some(ends) if self.len == 0 => self.of.free.borrow_mut().push(ends),
            _ => self.of.open.set(self.of.open.get().saturating_sub(1)),
        }
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
