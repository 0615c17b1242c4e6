//! Connections in turn to several servers: what stands before edges.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// A balancer on a thread of its own, so that it goes on while a test waits for a program. Ends when dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    pub(crate) fn start(servers: Vec<SocketAddr>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = balance(listener, servers) => {}
                }
            });
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking());
    }
}

/// Gives each connection to the next server that takes it; to none: closes it.
async fn balance(listener: TcpListener, servers: Vec<SocketAddr>) {
    for turn in 0.. {
        let (mut caller, _) = listener.accept().await.unwrap();
        let mut order = servers.clone();
        order.rotate_left(turn % servers.len());
        tokio::spawn(async move {
            for server in order {
                if let Ok(mut server) = TcpStream::connect(server).await {
                    // Whoever closes or breaks off ends both halves.
                    let _ = copy_bidirectional(&mut caller, &mut server).await;
                    return;
                }
            }
        });
    }
}
