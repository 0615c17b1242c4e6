//! A way to a CQL node on which answers get lost.
//!
//! Forwards frames of the native protocol in both directions. Of the answers to conditional statements (those whose text says ` IF `) it lets some fall: the node
//! has done what was asked, and nobody hears of it. As many of the questions fall on their way: nothing was done, and nobody hears of that either.

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
const RESULT: u8 = 0x08;
const PREPARED: [u8; 4] = [0, 0, 0, 4];

/// What all connections know together.
#[derive(Debug)]
struct Shared {
    /// Ids of prepared conditional statements.
    conditional: Mutex<HashSet<Vec<u8>>>,
    /// State of the generator that says which answers fall.
    random: AtomicU64,
    /// One of so many falls.
    one_of: u64,
    questions: AtomicU64,
    answers: AtomicU64,
}

impl Shared {
    fn falls(&self, count: &AtomicU64) -> bool {
        // A Weyl sequence, mixed (splitmix64).
        let state = self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let falls = (mixed ^ (mixed >> 31)).is_multiple_of(self.one_of);
        count.fetch_add(u64::from(falls), Ordering::Relaxed);
        falls
    }
}

/// Such ways to all nodes of a cluster; closed when dropped.
#[derive(Debug)]
pub(crate) struct LossyWays {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
}

impl LossyWays {
    /// To these nodes, on one port of their addresses: the driver looks for a node at the address that the node says it has, and at the port that it has used
    /// first. One of `one_of` questions and answers of conditional statements falls; `seed` says which.
    pub(crate) async fn open(nodes: &[SocketAddr], one_of: u64, seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            conditional: Mutex::default(),
            random: AtomicU64::new(seed),
            one_of,
            questions: AtomicU64::new(0),
            answers: AtomicU64::new(0),
        });
        let (mut port, mut addresses, mut accepting) = (0, Vec::new(), Vec::new());
        for &node in nodes {
            let listener = TcpListener::bind((node.ip(), port)).await?;
            let address = listener.local_addr()?;
            port = address.port();
            addresses.push(address);
            let shared = Arc::clone(&shared);
            accepting.push(tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(forward(client, node, Arc::clone(&shared)));
                }
            }));
        }
        Ok(Self {
            addresses,
            shared,
            accepting,
        })
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(ToString::to_string).collect()
    }

    /// Questions and answers that fell.
    pub(crate) fn fallen(&self) -> (u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.shared.questions), of(&self.shared.answers))
    }
}

impl Drop for LossyWays {
    fn drop(&mut self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

/// A frame: nine bytes of header (version, flags, two of stream, operation, four of length) and the body.
struct Frame(Vec<u8>);

impl Frame {
    async fn read(from: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Self> {
        let mut bytes = vec![0; 9];
        from.read_exact(&mut bytes).await?;
        let length = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        bytes.resize(9 + length as usize, 0);
        from.read_exact(&mut bytes[9..]).await?;
        Ok(Self(bytes))
    }

    fn stream(&self) -> [u8; 2] {
        [self.0[2], self.0[3]]
    }

    const fn operation(&self) -> u8 {
        self.0.as_slice()[4]
    }

    fn body(&self) -> &[u8] {
        &self.0[9..]
    }
}

/// A short and so many bytes.
fn short_bytes(body: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    &body[2..2 + length]
}

async fn forward(client: TcpStream, node: SocketAddr, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(node).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    /// Streams of one connection on which such a question is open.
    #[derive(Default)]
    struct Open {
        preparing: HashSet<[u8; 2]>,
        executing: HashSet<[u8; 2]>,
    }
    let open = Mutex::new(Open::default());
    let questions = async {
        loop {
            let frame = Frame::read(&mut from_client).await?;
            match frame.operation() {
                PREPARE if String::from_utf8_lossy(frame.body()).contains(" IF ") => {
                    open.lock().unwrap().preparing.insert(frame.stream());
                }
                EXECUTE => {
                    let conditional = shared.conditional.lock().unwrap();
                    if conditional.contains(short_bytes(frame.body())) {
                        if shared.falls(&shared.questions) {
                            continue;
                        }
                        open.lock().unwrap().executing.insert(frame.stream());
                    }
                }
                _ => {}
            }
            to_server.write_all(&frame.0).await?;
        }
    };
    let answers = async {
        loop {
            let frame = Frame::read(&mut from_server).await?;
            let (preparing, executing) = {
                let mut open = open.lock().unwrap();
                let stream = frame.stream();
                (
                    open.preparing.remove(&stream),
                    open.executing.remove(&stream),
                )
            };
            if preparing && frame.operation() == RESULT && frame.body().starts_with(&PREPARED) {
                let id = short_bytes(&frame.body()[4..]).to_vec();
                shared.conditional.lock().unwrap().insert(id);
            }
            if executing && shared.falls(&shared.answers) {
                continue;
            }
            to_client.write_all(&frame.0).await?;
        }
    };
    // Either side has gone: that ends the connection.
    let _: io::Result<()> = tokio::select! {
        ended = questions => ended,
        ended = answers => ended,
    };
}
