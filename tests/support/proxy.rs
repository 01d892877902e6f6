//! A TCP proxy on loopback that can stop forwarding, as a broken network does: no data passes, and
//! neither side gets an error.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running proxy. It ends on drop.
#[derive(Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    cut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `target`.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(false);
        let task = tokio::spawn(accept(listener, target, cut.clone()));
        Self { address, cut, task }
    }

    /// Stops forwarding on existing and new connections.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Forwards new connections again. The connections that were cut stay dead.
    pub fn heal(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, cut: watch::Sender<bool>) {
    loop {
        let (mut near, _) = listener.accept().await.expect("accept a connection");
        let mut cut = cut.subscribe();
        tokio::spawn(async move {
            let pass = async {
                let mut far = TcpStream::connect(target).await?;
                copy_bidirectional(&mut near, &mut far).await
            };
            let was_cut = tokio::select! {
                _ = pass => false,
                cut = cut.wait_for(|cut| *cut) => cut.is_ok(),
            };
            if was_cut {
                // The connections stay open without data, so neither side notices.
                std::future::pending::<()>().await;
            }
            drop(near);
        });
    }
}
