//! The gate that every write to the API server passes. It shuts when the lease has run out.
//!
//! A write may be late in three places, and each has its own answer:
//!
//! - *In the program*: a request has passed the gate, and the process is stopped (SIGSTOP, a paused
//!   virtual machine) before its bytes are sent. So the clock is read again before each write to a
//!   socket ([`Guarded`]), and not only when a request begins. Between that check and the system
//!   call, some hundred nanoseconds remain that no program can close.
//! - *In the kernel and on the wire*: unacknowledged bytes are sent again for minutes, even after
//!   the process has ended. With `TCP_USER_TIMEOUT`, the kernel drops them after the margin. The
//!   margin is the time between the gate's deadline and the time when another replica may take the
//!   lease.
//! - *In the API server*: the server has the whole request. It needs milliseconds, plus the time of
//!   admission webhooks. The connection is dropped at the deadline, which the server takes as a
//!   cancellation.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::sync::watch;

use super::clock::Moment;

/// A write was refused, because this replica does not hold the lease or has lost it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not hold the lease, so it writes nothing")]
pub struct NotLeading;

/// The gate is open until a time on this machine's clock. Every renewal moves that time. Clones
/// share it.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// In [`Moment::nanos`]. Zero means shut.
    until: Arc<AtomicU64>,
    traffic: watch::Sender<Traffic>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    /// Writes that have begun and have no answer yet.
    under_way: usize,
    /// New writes wait until the process ends.
    held: bool,
}

impl Gate {
    /// A gate that is shut.
    pub(super) fn shut() -> Self {
        Self {
            until: Arc::default(),
            traffic: watch::Sender::default(),
        }
    }

    pub(super) fn open_until(&self, moment: Moment) {
        self.until.store(moment.nanos(), Ordering::Release);
    }

    pub(super) fn close(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether the gate is open now. Reads the clock, so it does not depend on a timer task.
    pub(super) fn is_open(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            until => Moment::now().nanos() < until,
        }
    }

    /// Runs a write if the gate is open, and cancels it when the gate shuts.
    pub(super) async fn pass<T, E: From<NotLeading>>(
        &self,
        write: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(_under_way) = self.enter() else {
            return std::future::pending().await;
        };
        if !self.is_open() {
            return Err(NotLeading.into());
        }
        tokio::select! {
            answer = write => answer,
            () = self.expired() => Err(NotLeading.into()),
        }
    }

    /// Blocks every write that has not begun, until the process ends, and waits for the answers to
    /// the others. A blocked write returns nothing, so its driver reports no wrong result.
    pub(super) async fn drain(&self) {
        self.traffic.send_modify(|traffic| traffic.held = true);
        let mut traffic = self.traffic.subscribe();
        // This value owns the sender, so the wait cannot fail.
        let _ = traffic.wait_for(|traffic| traffic.under_way == 0).await;
    }

    fn enter(&self) -> Option<UnderWay> {
        let mut entered = false;
        self.traffic.send_if_modified(|traffic| {
            entered = !traffic.held;
            traffic.under_way += usize::from(entered);
            false
        });
        entered.then(|| UnderWay(self.traffic.clone()))
    }

    /// Waits until the lease has run out, including all renewals.
    async fn expired(&self) {
        loop {
            let until = Moment::from_nanos(self.until.load(Ordering::Acquire));
            let left = Moment::now().until(until);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A write in progress.
struct UnderWay(watch::Sender<Traffic>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|traffic| traffic.under_way -= 1);
    }
}

/// A connection that sends nothing while the gate is shut, if it has a gate.
pub(super) struct Guarded<S> {
    stream: S,
    gate: Option<Gate>,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, gate: Option<Gate>) -> Self {
        Self { stream, gate }
    }

    fn check(&self) -> io::Result<()> {
        match self.gate.as_ref().is_none_or(Gate::is_open) {
            true => Ok(()),
            false => Err(io::Error::other(NotLeading)),
        }
    }
}

impl<S: Read + Unpin> Read for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Connection> Connection for Guarded<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);

    async fn write() -> Result<(), NotLeading> {
        Ok(())
    }

    async fn endless() -> Result<(), NotLeading> {
        std::future::pending().await
    }

    #[tokio::test]
    async fn writes_pass_while_the_lease_lasts_and_not_a_moment_longer() {
        let gate = Gate::shut();
        assert_eq!(gate.pass(write()).await, Err(NotLeading));
        gate.open_until(Moment::now() + LONG);
        assert_eq!(gate.pass(write()).await, Ok(()));
        gate.open_until(Moment::now());
        assert_eq!(gate.pass(write()).await, Err(NotLeading));
        gate.open_until(Moment::now() + LONG);
        gate.close();
        assert!(!gate.is_open());
    }

    #[tokio::test]
    async fn a_write_under_way_is_given_up_when_the_lease_is_not_renewed() {
        let gate = Gate::shut();
        gate.open_until(Moment::now() + SHORT);
        assert_eq!(gate.pass(endless()).await, Err(NotLeading));
        // Long enough for a machine that is busy with other things.
        let lease = 10 * SHORT;
        gate.open_until(Moment::now() + lease);
        let renew = async {
            gate.open_until(Moment::now() + LONG);
            tokio::time::sleep(lease + SHORT).await;
        };
        tokio::select! {
            biased;
            _ = gate.pass(endless()) => panic!("it was renewed"),
            () = renew => (),
        }
    }

    #[tokio::test]
    async fn a_drained_gate_lets_writes_end_and_begins_none() {
        let gate = Gate::shut();
        gate.open_until(Moment::now() + LONG);
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let begun = tokio::spawn({
            let gate = gate.clone();
            async move {
                let write = async { answered.await.map_err(|_| NotLeading) };
                gate.pass(write).await
            }
        });
        while gate.traffic.borrow().under_way == 0 {
            tokio::task::yield_now().await;
        }
        let mut drained = Box::pin(gate.drain());
        assert!((&mut drained).now_or_never().is_none());
        assert!(gate.pass(write()).now_or_never().is_none(), "it is held up");
        answer.send(()).unwrap();
        assert_eq!(begun.await.unwrap(), Ok(()));
        drained.await;
    }

    /// The case of a process that was stopped and goes on: the request passed the gate, but its
    /// bytes were not sent.
    #[tokio::test]
    async fn no_byte_is_sent_on_an_open_connection_after_the_lease() {
        let gate = Gate::shut();
        gate.open_until(Moment::now() + LONG);
        let (near, mut far) = duplex(64);
        let mut stream = TokioIo::new(Guarded::new(TokioIo::new(near), Some(gate.clone())));
        let send = async |stream: &mut TokioIo<Guarded<_>>, text: &[u8]| {
            tokio::io::AsyncWriteExt::write_all(stream, text).await
        };
        send(&mut stream, b"early").await.unwrap();
        gate.open_until(Moment::now());
        let refused = send(&mut stream, b"late").await.unwrap_err();
        assert!(refused.to_string().contains("does not hold the lease"));
        drop(stream);
        let mut arrived = String::new();
        far.read_to_string(&mut arrived).await.unwrap();
        assert_eq!(arrived, "early");
    }
}
