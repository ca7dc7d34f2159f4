//! A connection whose client has to read: what it does not take is held in memory, and a client that takes nothing, or next to
//! nothing, would have it held for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a client takes at least, in bytes a second, while there is more for it.
const SLOWEST: u32 = 8 << 10;

/// A socket that ends when its client reads too slowly.
pub(super) struct Patient<S> {
    socket: S,
    /// While the client is slow, or was a moment ago.
    slow: Option<Box<Slow>>,
}

struct Slow {
    allowance: Allowance,
    over: Pin<Box<Sleep>>,
}

/// How long a slow client is still waited for. Each byte that it takes buys time, but no more than there was at first.
#[derive(Clone, Copy)]
struct Allowance {
    until: Instant,
    /// Since when it has taken nothing; none while it takes what there is.
    stuck: Option<Instant>,
    /// When it had last to be waited for, and took something.
    took: Instant,
}

impl Allowance {
    fn begin(now: Instant) -> Self {
        Self { until: now + PATIENCE, stuck: Some(now), took: now }
    }

    /// The client takes nothing now. One that took all that there was for a while is as good as any.
    fn wait(&mut self, now: Instant) {
        if self.stuck.is_none() {
            let until = if now.duration_since(self.took) < PATIENCE { self.until } else { now + PATIENCE };
            *self = Self { until, stuck: Some(now), took: self.took };
        }
    }

    fn take(&mut self, now: Instant, bytes: usize) {
        let bought = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / SLOWEST;
        self.until = (self.until + bought).min(now + PATIENCE);
        if self.stuck.take().is_some() {
            self.took = now;
        }
    }
}

impl<S> Patient<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, slow: None }
    }

    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.slow) {
            (Poll::Ready(Ok(taken)), Some(slow)) => slow.allowance.take(Instant::now(), *taken),
            (Poll::Ready(_), _) => {}
            (Poll::Pending, slow) => {
                let now = Instant::now();
                let begin = || Box::new(Slow { allowance: Allowance::begin(now), over: Box::pin(sleep_until(now + PATIENCE)) });
                let slow = slow.get_or_insert_with(begin);
                slow.allowance.wait(now);
                if slow.over.deadline() != slow.allowance.until {
                    slow.over.as_mut().reset(slow.allowance.until);
                }
                if slow.over.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")));
                }
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many seconds a client is given that takes so many bytes every so many; none where it is given an hour.
    fn given(bytes: usize, every: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut allowance = Allowance::begin(begun);
        for second in (every..3_600).step_by(usize::try_from(every).expect("few")) {
            let now = begun + Duration::from_secs(second);
            if now >= allowance.until {
                return Some((allowance.until - begun).as_secs());
            }
            allowance.take(now, bytes);
            allowance.wait(now);
        }
        None
    }

    #[test]
    fn who_is_slow_is_waited_for_and_who_only_pretends_is_not() {
        assert_eq!(given(16 << 10, 1), None);
        assert_eq!(given(SLOWEST as usize, 1), None);
        assert_eq!(given(1 << 10, 1), Some(34), "a thousand bytes buy an eighth of a second");
        assert_eq!(given(1, 29), Some(30));
        assert_eq!(given(0, 3_599), Some(30));
    }

    #[test]
    fn what_was_a_while_ago_is_forgotten() {
        let begun = Instant::now();
        let mut allowance = Allowance::begin(begun);
        allowance.take(begun + PATIENCE / 2, 1);
        allowance.wait(begun + PATIENCE);
        assert!(allowance.until < begun + PATIENCE + Duration::from_secs(1), "half of it is left");
        allowance.take(begun + PATIENCE, 1);
        allowance.wait(begun + PATIENCE * 2);
        assert_eq!(allowance.until, begun + PATIENCE * 3);
    }
}
