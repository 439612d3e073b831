//! The driven side: `drive` in tasks on tokio's paused clock, over a world that answers as the script says.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};
use weir_policy::balance::Table;
use weir_policy::call::{Attempt, Call, Step};
use weir_policy::cluster::{Cluster, Draw};
use weir_policy::drive::{Verdict, World, drive};
use weir_policy::outcome::{Connected, Outcome, Reached, Result as Ended};
use weir_policy::refusal::Refusal;
use weir_policy::rng::Rng;
use weir_policy::time::Time;
use weir_policy::timeout::Which;
use weir_sim::event::Reply as Planned;
use weir_sim::gate::{Gate, Passed, Pots};
use weir_sim::pool::{Lent, Next, Pool};
use weir_sim::script::{Act, Script};
use weir_sim::trace::{Line, Watch, What, look};

/// Which driver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// `weir_policy::drive`.
    Straight,
    /// A copy of it that asks what follows a wait before it waits.
    WokeBeforeTheWait,
}

/// What all calls of a script share.
struct Room {
    script: Script,
    start: Instant,
    cluster: RefCell<Cluster>,
    watch: RefCell<Watch>,
    rng: RefCell<Rng>,
    cursor: Cell<u64>,
    pools: RefCell<BTreeMap<SocketAddr, Pool<u64>>>,
    /// Who stands in line hears here.
    in_line: RefCell<HashMap<u64, oneshot::Sender<()>>>,
    /// The clients of calls that are under way.
    clients: RefCell<HashMap<u64, Rc<Notify>>>,
    pots: Pots,
    lines: RefCell<Vec<Line>>,
}

/// The steps of a script.
pub(crate) fn run(script: &Script, order: Order) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime.expect("a runtime"), async {
        let room = Rc::new(Room::new(script));
        let mut calls = 0;
        let mut running = Vec::new();
        for item in &script.items {
            calls += u64::from(matches!(item.act, Act::Call(_)));
            let (room, item, call) = (Rc::clone(&room), item.clone(), calls);
            running.push(tokio::task::spawn_local(async move {
                sleep_until(room.instant(item.at)).await;
                room.act(&item.act, call, order).await;
            }));
        }
        // Time passes at once when nobody has anything to do: who is not over by then never will be.
        let all = async {
            for task in running {
                task.await.expect("no panic");
            }
        };
        tokio::time::timeout(Duration::from_secs(100_000_000), all).await.expect("every call ends");
        room.lines.take()
    })
}

impl Room {
    #[allow(clippy::disallowed_methods, reason = "the paused clock: it stands at its start")]
    fn new(script: &Script) -> Self {
        Self {
            script: script.clone(),
            start: Instant::now(),
            cluster: RefCell::new(Cluster::new(Arc::new(script.rules.upstream.clone()))),
            watch: RefCell::default(),
            rng: RefCell::new(Rng::new(script.rules.seed)),
            cursor: Cell::new(0),
            pools: RefCell::default(),
            in_line: RefCell::default(),
            clients: RefCell::default(),
            pots: script.pots(),
            lines: RefCell::default(),
        }
    }

    fn instant(&self, at: Time) -> Instant {
        self.start + Duration::from_millis(at.nanos() / 1000)
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.start.elapsed().as_millis() as u64 * 1000)
    }

    fn line(&self, call: u64, what: What) {
        self.lines.borrow_mut().push(Line { at: self.now(), call, what });
    }

    async fn act(self: &Rc<Self>, act: &Act, call: u64, order: Order) {
        match act {
            Act::Call(asked) => {
                let client = Rc::new(Notify::new());
                self.clients.borrow_mut().insert(call, Rc::clone(&client));
                let began = self.now();
                let request = self.script.request(asked);
                let gate = Gate::new(Arc::clone(&request.chain));
                let mut carrier = Carrier { room: Rc::clone(self), number: call, began, client, gate };
                if carrier.passes().await {
                    carrier.began = self.now();
                    let call = request.call(carrier.began);
                    carrier.carry(call, order).await;
                }
                self.clients.borrow_mut().remove(&call);
            }
            Act::Leave(call) => {
                if let Some(client) = self.clients.borrow().get(call) {
                    client.notify_one();
                }
            }
            Act::Renew(upstream) => {
                let table = Arc::new(Table::build(&upstream.balance, &upstream.endpoints));
                drop(self.cluster.borrow_mut().renew(Arc::clone(upstream), table));
            }
            Act::Look => {
                let note = look(&self.cluster.borrow());
                self.line(0, What::Note(note));
            }
        }
    }

    fn pool<R>(&self, address: SocketAddr, act: impl FnOnce(&mut Pool<u64>, &mut Cluster) -> R) -> R {
        act(self.pools.borrow_mut().entry(address).or_default(), &mut self.cluster.borrow_mut())
    }

    /// Whoever was next in line goes on.
    fn serve(&self, address: SocketAddr, next: Next<u64>) {
        let call = match next {
            Next::Nobody => return,
            Next::Connection(call) => call,
            Next::Dial(call) => {
                self.pool(address, |pool, cluster| pool.dialled(&mut cluster.inflight));
                call
            }
        };
        if let Some(waiting) = self.in_line.borrow_mut().remove(&call) {
            // It hears, or has just left the line.
            let _ = waiting.send(());
        }
    }
}

/// A response and its connection.
struct Reply {
    room: Rc<Room>,
    address: SocketAddr,
    status: u16,
    tail: Duration,
    kept: bool,
}

impl Reply {
    /// It was passed on to its end: the connection can be used again.
    fn give_back(mut self) {
        self.kept = false;
        let next = self.room.pool(self.address, |pool, cluster| pool.give_back(&mut cluster.inflight));
        self.room.serve(self.address, next);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.kept {
            let next = self.room.pool(self.address, |pool, cluster| pool.close(&mut cluster.inflight));
            self.room.serve(self.address, next);
        }
    }
}

/// The wet side of one call, without sockets.
struct Carrier {
    room: Rc<Room>,
    number: u64,
    /// When its filters had let it pass.
    began: Time,
    client: Rc<Notify>,
    gate: Gate,
}

/// How a try is kept from ending.
enum Interrupted {
    ClientGone,
    Deadline(Which),
}

impl World for Carrier {
    type Reply = Reply;

    fn now(&self) -> Time {
        self.room.now()
    }

    fn with<R>(&mut self, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R {
        let room = &self.room;
        let mut cursor = room.cursor.get();
        let mut cluster = room.cluster.borrow_mut();
        let result = decide(&mut cluster, &mut Draw { rng: &mut room.rng.borrow_mut(), cursor: &mut cursor });
        room.cursor.set(cursor);
        for what in room.watch.borrow_mut().changes(&cluster, room.now()) {
            room.line(0, what);
        }
        result
    }

    async fn wait(&mut self, until: Time) -> Result<(), Refusal> {
        self.room.line(self.number, What::Wait(until.since(self.now())));
        tokio::select! {
            biased;
            () = self.client.notified() => Err(Refusal::ClientGone),
            () = sleep_until(self.room.instant(until)) => Ok(()),
        }
    }

    async fn attempt(&mut self, attempt: &Attempt) -> (Outcome, Option<Reply>) {
        self.room.line(self.number, What::Try { address: attempt.address, number: attempt.number });
        let (planned, connected) = self.try_once(attempt).await;
        let outcome = Outcome {
            result: planned.result,
            reached: planned.reached,
            received: Some(self.began),
            body: planned.body,
            interim: planned.interim,
            connected: if matches!(planned.result, Ended::ConnectFailed(_)) { Connected::No } else { connected },
        };
        let room = Rc::clone(&self.room);
        let reply = match planned.result {
            Ended::Response(response) => {
                Some(Reply { room, address: attempt.address, status: response.status, tail: planned.tail, kept: true })
            }
            _ => None,
        };
        (outcome, reply)
    }
}

impl Carrier {
    async fn try_once(&self, attempt: &Attempt) -> (Planned, Connected) {
        let (room, address) = (&self.room, attempt.address);
        let lent = room.pool(address, |pool, cluster| {
            let ceilings = cluster.rules().inflight;
            pool.lend(&mut cluster.inflight, &ceilings, self.number)
        });
        match lent {
            Lent::Ready => {}
            Lent::Dial => room.pool(address, |pool, cluster| pool.dialled(&mut cluster.inflight)),
            Lent::Full => return (Planned::of(Ended::Overflow, Reached::Nothing), Connected::No),
            Lent::InLine => {
                let (sender, receiver) = oneshot::channel();
                room.in_line.borrow_mut().insert(self.number, sender);
                if let Err(why) = self.unless_over(receiver, attempt).await {
                    room.in_line.borrow_mut().remove(&self.number);
                    room.pool(address, |pool, cluster| pool.leave_line(&mut cluster.inflight, &self.number));
                    return (Planned::of(ended(&why), Reached::Nothing), Connected::No);
                }
            }
        }
        let planned = self.sent(attempt).await;
        if !matches!(planned.result, Ended::Response(_)) {
            let next = room.pool(address, |pool, cluster| pool.close(&mut cluster.inflight));
            room.serve(address, next);
        }
        (planned, Connected::Yes)
    }

    /// The request is on its way.
    async fn sent(&self, attempt: &Attempt) -> Planned {
        let coming = self.room.script.outcome(self.number, attempt.number, self.room.now());
        let reply = async {
            match coming {
                Some(coming) => {
                    sleep_until(self.room.instant(coming.at)).await;
                    coming.reply
                }
                None => std::future::pending().await,
            }
        };
        match self.unless_over(reply, attempt).await {
            Ok(reply) => reply,
            Err(why) => Planned::of(ended(&why), Reached::Whole),
        }
    }

    /// `work`, unless the client leaves or the time is up first.
    async fn unless_over<T>(&self, work: impl Future<Output = T>, attempt: &Attempt) -> Result<T, Interrupted> {
        let deadline = attempt.limits.deadline(self.began);
        let time_up = async {
            match deadline {
                Some((until, which)) => {
                    sleep_until(self.room.instant(until)).await;
                    which
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.client.notified() => Err(Interrupted::ClientGone),
            which = time_up => Err(Interrupted::Deadline(which)),
        }
    }

    /// Do its filters let the request pass?
    async fn passes(&mut self) -> bool {
        loop {
            let now = self.now();
            let passed = self.gate.next(&self.room.pots, &mut self.room.rng.borrow_mut(), now);
            match passed {
                Passed::On => return true,
                Passed::Answer(status) => {
                    self.room.line(self.number, What::Answer { status, flags: self.gate.flags() });
                    return false;
                }
                Passed::Wait(until) => {
                    self.room.line(self.number, What::Delay(until.since(now)));
                    tokio::select! {
                        biased;
                        () = self.client.notified() => {
                            let flags = self.gate.flags().with(Refusal::ClientGone.flags());
                            self.room.line(self.number, What::Refuse { refusal: Refusal::ClientGone, flags });
                            return false;
                        }
                        () = sleep_until(self.room.instant(until)) => {}
                    }
                }
            }
        }
    }

    /// A call from its start to its end.
    async fn carry(mut self, mut call: Call, order: Order) {
        let verdict = match order {
            Order::Straight => drive(&mut call, &mut self).await,
            Order::WokeBeforeTheWait => drive_swapped(&mut call, &mut self).await,
        };
        let reply = match verdict {
            Verdict::Refused(refusal) => {
                let flags = call.flags().with(self.gate.flags()).with(refusal.flags());
                return self.room.line(self.number, What::Refuse { refusal, flags });
            }
            Verdict::Answer(reply) => reply,
        };
        self.room.line(self.number, What::Answer { status: reply.status, flags: call.flags().with(self.gate.flags()) });
        let done = self.now() + reply.tail;
        let end = if reply.tail.is_zero() { None } else { Some(self.pass_on(done, call.deadline()).await) };
        let now = self.now();
        self.with(|cluster, _| call.ended(cluster, now));
        let is_whole = !matches!(end, Some(What::Left | What::CutOff));
        if let Some(end) = end {
            self.room.line(self.number, end);
        }
        if is_whole { reply.give_back() } else { drop(reply) }
    }

    /// The response's body; how it ends.
    async fn pass_on(&self, done: Time, deadline: Option<Time>) -> What {
        let cut = deadline.filter(|deadline| *deadline < done);
        tokio::select! {
            biased;
            () = sleep_until(self.room.instant(cut.unwrap_or(done))) => if cut.is_some() { What::CutOff } else { What::End },
            () = self.client.notified() => What::Left,
        }
    }
}

const fn ended(why: &Interrupted) -> Ended {
    match why {
        Interrupted::ClientGone => Ended::Abandoned,
        Interrupted::Deadline(Which::PerTry) => Ended::PerTryTimeout,
        Interrupted::Deadline(Which::Whole) => Ended::WholeTimeout,
    }
}

/// `weir_policy::drive::drive` with two steps swapped: it asks first and waits then.
async fn drive_swapped(call: &mut Call, world: &mut Carrier) -> Verdict<Reply> {
    let now = world.now();
    let mut step = world.with(|cluster, draw| call.start(cluster, draw, now));
    let mut reply = None;
    loop {
        step = match step {
            Step::Try(attempt) => {
                let (outcome, response) = world.attempt(&attempt).await;
                reply = response;
                let now = world.now();
                world.with(|cluster, draw| call.answered(cluster, draw, &outcome, now))
            }
            Step::Wait(until) => {
                drop(reply.take());
                let now = world.now();
                let next = world.with(|cluster, draw| call.woke(cluster, draw, now));
                world.wait(until).await.expect("nobody leaves");
                next
            }
            Step::Answer => return Verdict::Answer(reply.expect("a reply")),
            Step::Refuse(why) => return Verdict::Refused(why),
        };
    }
}
