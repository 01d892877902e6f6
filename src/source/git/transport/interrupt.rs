//! Connections of the HTTP client that end when their fetch has to end.
//!
//! The client reads from a socket with a time limit of half a minute. So a fetch that nobody waits
//! for would keep its connection until then. Here, a read waits in short slices, and looks in
//! between whether its fetch still goes on.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport,
};

/// Whether a read may still wait.
pub(super) type MayWait = Rc<dyn Fn() -> bool>;

thread_local! {
    /// The rule for the reads of this thread. Connections outlive the fetch that made them.
    static MAY_WAIT: RefCell<Option<MayWait>> = const { RefCell::new(None) };
}

/// Runs `work`, in which reads end when `may_wait` says so.
pub(super) fn with_reads<T>(may_wait: MayWait, work: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            MAY_WAIT.set(None);
        }
    }
    MAY_WAIT.set(Some(may_wait));
    let _reset = Reset;
    work()
}

/// How long a read waits before it looks again.
const SLICE: Duration = Duration::from_millis(200);

/// Opens TCP connections, or takes that of a proxy.
#[derive(Default)]
pub(super) struct InterruptibleTcp(TcpConnector);

impl fmt::Debug for InterruptibleTcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InterruptibleTcp")
    }
}

impl<In: Transport> Connector<In> for InterruptibleTcp {
    type Out = Interruptible<<TcpConnector as Connector<In>>::Out>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let connected = self.0.connect(details, chained)?;
        Ok(connected.map(Interruptible))
    }
}

/// A connection whose reads end with the fetch of their thread.
#[derive(Debug)]
pub(super) struct Interruptible<T>(T);

impl<T: Transport> Transport for Interruptible<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        let whole = *timeout.after;
        let started = Instant::now();
        loop {
            let may_wait = MAY_WAIT.with_borrow(Clone::clone);
            if may_wait.is_some_and(|may_wait| !may_wait()) {
                return Err(Error::Io(io::Error::other("the fetch has ended")));
            }
            let left = whole.saturating_sub(started.elapsed());
            let is_last = left <= SLICE;
            let slice = NextTimeout {
                after: left.min(SLICE).into(),
                reason: timeout.reason,
                ..NextTimeout::default()
            };
            match self.0.await_input(slice) {
                Err(Error::Timeout(_)) if !is_last => (),
                other => return other,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
