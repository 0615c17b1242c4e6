//! Deadlines of a connection: how long a peer may be silent, be slow with a head, or refuse to read.

use super::framing::Scanner;
use http::Version;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::SetOnce,
    time::{Instant, Sleep, sleep_until},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) write: Duration,
}

/// What a connection is doing: shared by its stream, which sees bytes, and its service, which sees requests.
#[derive(Debug, Default)]
pub(super) struct Phase {
    requests: AtomicUsize,
    /// Requests that were begun so far.
    begun: AtomicUsize,
    multiplexed: AtomicBool,
    ambiguous: AtomicBool,
    /// Set with the first request.
    first: SetOnce<()>,
}

/// A request is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Phase>);

impl Phase {
    pub(super) fn begin(this: &Arc<Self>, version: Version) -> Turn {
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.begun.fetch_add(1, Ordering::Relaxed);
        let _ = this.first.set(());
        if version == Version::HTTP_2 {
            this.multiplexed.store(true, Ordering::Relaxed);
        }
        Turn(Arc::clone(this))
    }

    /// Whether the head of the request at hand had two lengths.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Relaxed)
    }

    /// Waits for the first request.
    pub(super) async fn begun(&self) {
        self.first.wait().await;
    }

    fn is_busy(&self) -> bool {
        // HTTP/2 has its own keep-alive: pings.
        self.requests.load(Ordering::Relaxed) > 0 || self.multiplexed.load(Ordering::Relaxed)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is waited for from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// Nothing has come since the last answer.
    Idle,
    /// Part of a head has come.
    Head,
    /// A request is being answered: its service has its own deadlines.
    Busy,
}

/// A stream whose reads and writes fail with `TimedOut` when the peer takes too long.
///
/// The timer is not set anew with every request, which would cost more than the request: it fires now and then, and is set to what is left. An idle connection is
/// so closed after one to two idle times.
pub(super) struct Timed<IO> {
    io: IO,
    phase: Arc<Phase>,
    deadlines: Deadlines,
    waiting: Waiting,
    /// Since when it waits for that.
    since: Instant,
    scanner: Scanner,
    /// Requests whose heads have passed here: nobody may have asked for bytes while they were answered.
    requests: usize,
    read: Pin<Box<Sleep>>,
    /// `Some` while the peer takes no bytes.
    write: Option<Pin<Box<Sleep>>>,
}

impl<IO> Timed<IO> {
    pub(super) fn new(io: IO, phase: Arc<Phase>, deadlines: Deadlines) -> Self {
        let since = Instant::now();
        Self {
            io,
            phase,
            deadlines,
            waiting: Waiting::Idle,
            since,
            scanner: Scanner::default(),
            requests: 0,
            read: Box::pin(sleep_until(since + deadlines.idle)),
            write: None,
        }
    }

    /// Whether a request has begun since this was asked last: its head was complete.
    fn has_passed(&mut self) -> bool {
        let begun = self.phase.begun.load(Ordering::Relaxed);
        std::mem::replace(&mut self.requests, begun) != begun
    }

    /// Notes that bytes have come.
    fn received(&mut self, bytes: &[u8]) {
        let has_passed = self.has_passed();
        if self.phase.is_busy() {
            self.waiting = Waiting::Busy;
            return;
        }
        if self.waiting != Waiting::Head || has_passed {
            // The first bytes since the last answer are the beginning of a head.
            self.waiting = Waiting::Head;
            self.since = Instant::now();
            self.scanner = Scanner::default();
        }
        self.scanner.feed(bytes);
        self.phase
            .ambiguous
            .store(self.scanner.is_ambiguous(), Ordering::Relaxed);
    }

    /// Notes that no bytes have come; fails if the peer has had its time.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let now = Instant::now();
        let has_passed = self.has_passed();
        if self.phase.is_busy() {
            self.waiting = Waiting::Busy;
        } else if self.waiting == Waiting::Busy || has_passed {
            self.waiting = Waiting::Idle;
            self.since = now;
        }
        let deadline = match self.waiting {
            // Looked at again later: nobody calls here when the answer has left.
            Waiting::Busy => now + self.deadlines.idle,
            Waiting::Idle => self.since + self.deadlines.idle,
            Waiting::Head => self.since + self.deadlines.head,
        };
        if deadline < self.read.deadline() {
            self.read.as_mut().reset(deadline);
        }
        loop {
            ready!(self.read.as_mut().poll(cx));
            if self.waiting != Waiting::Busy && Instant::now() >= deadline {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.read.as_mut().reset(deadline);
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Timed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before {
                    this.received(&buf.filled()[before..]);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_deadline(cx).map(Err),
        }
    }
}

impl<IO: AsyncWrite + Unpin> Timed<IO> {
    fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write = None;
            return written;
        }
        let deadline = Instant::now() + self.deadlines.write;
        let write = self
            .write
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(write.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Timed<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.poll_written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.poll_written(cx, shut)
    }
}
