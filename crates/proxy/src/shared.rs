//! Limits that several processes share: one Redis, or a cluster of it, asked by one round trip for each request.
//!
//! ```text
//!   workers ─► queue (bounded) ─► thread `shared-limits` ─► one connection, pipelined ─► a script, atomic there
//!                │ full                 │ no connection: at once      │ error, late
//!                ▼                      ▼                             ▼
//!             unknown                unknown                       unknown ─► the rule's `onError`
//!   broken ─► a new connection is tried every 100 ms ─► as before
//! ```
//! The script counts by Redis's clock. A key that was refused is not asked about again before there can be enough of it,
//! a second at most. Does not: decide what an unknown answer means.

use parking_lot::Mutex;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Script, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use weir_policy::rate::{Amount, How, Level, Rules, SLICES, Taken, Verdict, Wish};

/// Questions that may be under way to one store.
const MOST_ASKED: usize = 8_192;
/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(100);
/// For one try to connect.
const CONNECT: Duration = Duration::from_millis(500);
/// For an answer; requests have given up long before.
const ANSWER: Duration = Duration::from_secs(1);
/// Slices of a rolling window.
const MOST_SLICES: u64 = 100;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared/take.lua")));

/// Every store that plans name, by its address.
#[derive(Default, Debug)]
pub(crate) struct Stores {
    known: Mutex<HashMap<Arc<str>, Weak<Store>>>,
    thread: OnceLock<Option<Thread>>,
}

/// It ends when this is dropped.
#[derive(Debug)]
struct Thread {
    runtime: tokio::runtime::Handle,
    _end: oneshot::Sender<()>,
}

/// One of them. It is left when the last plan that names it is dropped.
#[derive(Debug)]
pub(crate) struct Store {
    asks: mpsc::Sender<Ask>,
}

#[derive(Debug)]
struct Ask {
    key: Vec<u8>,
    amount: Amount,
    slices: u64,
    cost: u32,
    answer: oneshot::Sender<Taken>,
}

impl Stores {
    /// The store of an address. `None`: the system refuses a thread.
    pub(crate) fn of(&self, url: &Arc<str>) -> Option<Arc<Store>> {
        let thread = self.thread.get_or_init(start).as_ref()?;
        let mut known = self.known.lock();
        if let Some(store) = known.get(url).and_then(Weak::upgrade) {
            return Some(store);
        }
        let (asks, asked) = mpsc::channel(MOST_ASKED);
        let store = Arc::new(Store { asks });
        known.retain(|_, store| store.strong_count() > 0);
        known.insert(Arc::clone(url), Arc::downgrade(&store));
        drop(known);
        thread.runtime.spawn(serve(Arc::clone(url), asked));
        Some(store)
    }
}

/// A thread of its own: whatever the store does, no worker waits for it.
fn start() -> Option<Thread> {
    let (end, ended) = oneshot::channel::<()>();
    let (sender, receiver) = std::sync::mpsc::channel();
    let run = move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let _ = sender.send(runtime.handle().clone());
        // Nothing is sent: the other end is dropped.
        let _ = runtime.block_on(ended);
    };
    std::thread::Builder::new().name("shared-limits".to_owned()).spawn(run).ok()?;
    receiver.recv().ok().map(|runtime| Thread { runtime, _end: end })
}

impl Store {
    /// Asks what a request wants. Nothing comes back when the store cannot be asked.
    pub(crate) fn ask(&self, rules: &Rules, wish: &Wish) -> oneshot::Receiver<Taken> {
        let (answer, receiver) = oneshot::channel();
        let per = wish.amount.per.as_nanos();
        let slice = rules.shared.as_ref().and_then(|shared| shared.slice).map_or(0, |slice| slice.as_nanos());
        let slices = per.checked_div(slice).map_or(SLICES, |slices| slices.clamp(1, u128::from(MOST_SLICES)) as u64);
        let ask = Ask { key: name(rules, wish), amount: wish.amount, slices, cost: wish.cost, answer };
        // When the queue is full the answer's end is dropped with it: unknown.
        let _ = self.asks.try_send(ask);
        receiver
    }
}

/// The key in the store: the rule, how it counts, and the request's key in hexadecimal.
fn name(rules: &Rules, wish: &Wish) -> Vec<u8> {
    let mut name = Vec::with_capacity(16 + rules.id.len() + 2 * wish.key.bytes().len());
    name.extend_from_slice(b"weir:rate:");
    name.extend_from_slice(rules.id.as_bytes());
    name.push(b':');
    name.extend_from_slice(how(wish.amount.how).as_bytes());
    name.push(b':');
    for byte in wish.key.bytes() {
        name.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    name
}

const fn how(how: How) -> &'static str {
    match how {
        How::Bucket => "B",
        How::Fixed => "F",
        How::Rolling => "R",
    }
}

/// A connection that many questions share.
#[derive(Clone)]
enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(link) => link.req_packed_command(cmd),
            Self::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(link) => link.req_packed_commands(cmd, offset, count),
            Self::Cluster(link) => link.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}

/// A connection; its number tells whether an error is about this one.
#[derive(Clone)]
struct Open {
    number: u64,
    link: Link,
}

/// What the task of a store and its questions share.
struct Line {
    open: Mutex<Option<Open>>,
    broken: Notify,
    /// The first try to connect is over.
    tried: Notify,
    under_way: AtomicUsize,
}

async fn serve(url: Arc<str>, mut asked: mpsc::Receiver<Ask>) {
    let line = Arc::new(Line {
        open: Mutex::new(None),
        broken: Notify::new(),
        tried: Notify::new(),
        under_way: AtomicUsize::new(0),
    });
    let keeper = tokio::spawn(keep(url, Arc::clone(&line)));
    // Questions of the first moment wait for it, as long as their requests do.
    line.tried.notified().await;
    while let Some(ask) = asked.recv().await {
        // Later, without a connection, there is no waiting for one.
        let Some(open) = line.open.lock().clone() else { continue };
        if line.under_way.load(Ordering::Relaxed) < MOST_ASKED {
            line.under_way.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(answer(ask, open, Arc::clone(&line)));
        }
    }
    keeper.abort();
}

/// Connects, and again whenever the connection is broken.
async fn keep(url: Arc<str>, line: Arc<Line>) {
    for number in 1.. {
        // A Redis that is not there is tried again.
        if let Ok(Ok(link)) = tokio::time::timeout(CONNECT, connect(&url)).await {
            *line.open.lock() = Some(Open { number, link });
            line.tried.notify_one();
            line.broken.notified().await;
        }
        line.tried.notify_one();
        tokio::time::sleep(AGAIN).await;
    }
}

async fn connect(url: &str) -> RedisResult<Link> {
    let node = |node: &str| {
        let node = node.trim();
        if node.contains("://") { node.to_owned() } else { format!("redis://{node}") }
    };
    let nodes: Vec<String> = url.split(',').map(node).collect();
    if let [only] = nodes.as_slice() {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
        let client = Client::open(only.as_str())?;
        return client.get_multiplexed_async_connection_with_config(&config).await.map(Link::One);
    }
    let client = ClusterClientBuilder::new(nodes)
        .connection_timeout(CONNECT)
        .response_timeout(ANSWER)
        .retries(1)
        .min_retry_wait(1)
        .max_retry_wait(10)
        .build()?;
    client.get_async_connection().await.map(Link::Cluster)
}

async fn answer(ask: Ask, mut open: Open, line: Arc<Line>) {
    let Ask { key, amount, slices, cost, answer } = ask;
    let micros = u64::try_from(amount.per.as_micros()).unwrap_or(u64::MAX).max(1);
    let mut take = TAKE.key(key);
    take.arg(how(amount.how)).arg(amount.requests).arg(micros).arg(amount.burst).arg(cost).arg(slices);
    let found: RedisResult<[i64; 3]> = take.invoke_async(&mut open.link).await;
    line.under_way.fetch_sub(1, Ordering::Relaxed);
    match found {
        Ok([taken, left, reset]) => {
            let verdict = if taken == 1 { Verdict::Allowed } else { Verdict::Limited };
            let remaining = u32::try_from(left.max(0)).unwrap_or(u32::MAX);
            let reset = Duration::from_micros(reset.max(0).unsigned_abs());
            // The request may have stopped waiting.
            let _ = answer.send(Taken { verdict, level: Level { limit: amount.limit(), remaining, reset } });
        }
        Err(why) if why.is_io_error() || why.is_connection_dropped() || why.is_cluster_error() => {
            line.breaks(open.number);
        }
        // A wrong answer is no answer; the connection is as good as before.
        Err(_) => {}
    }
}

impl Line {
    /// This connection is of no use any more.
    fn breaks(&self, number: u64) {
        let mut open = self.open.lock();
        if open.as_ref().is_none_or(|open| open.number != number) {
            return;
        }
        // A cluster whose one node is gone still answers for the others.
        if matches!(&*open, Some(Open { link: Link::One(_), .. })) {
            *open = None;
        }
        self.broken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_policy::rate::Key;

    #[test]
    fn keys_in_the_store_are_text_and_tell_rules_apart() {
        let amount = Amount::bucket(1, Duration::from_secs(1), 1);
        let rules = Rules::new("n/p#r".into(), amount);
        let wish = Wish { key: Key::written(["a\r\n b"]), amount, cost: 1 };
        assert_eq!(String::from_utf8(name(&rules, &wish)).expect("text"), "weir:rate:n/p#r:B:05610d0a2062");
    }
}
