//! The only loop that turns [`Step`]s into awaits. It has no runtime of its own, so every face shares it.
//!
//! Does not: know sockets, timers or locks; a [`World`] does.

use crate::call::{Attempt, Call, Step};
use crate::cluster::{Cluster, Draw};
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::time::Time;

/// What a call needs of the world around it.
#[expect(async_fn_in_trait, reason = "callers are generic over the world; no bound on the future is needed")]
pub trait World {
    /// A response whose head has arrived.
    type Reply;

    fn now(&self) -> Time;

    /// Runs `decide` on the cluster's state. The lock lives here, and only as long as the closure.
    fn with<R>(&mut self, decide: impl FnOnce(&mut Cluster, &mut Draw<'_>) -> R) -> R;

    /// Returns at `until`, or earlier with what ended the wait (the client went away).
    async fn wait(&mut self, until: Time) -> Result<(), Refusal>;

    /// Sends the request, within the attempt's limits; the reply when there is one.
    async fn attempt(&mut self, attempt: &Attempt) -> (Outcome, Option<Self::Reply>);
}

/// How a call came out, as far as its first response byte.
#[derive(Debug)]
pub enum Verdict<R> {
    /// Pass it on; the call is still under way and must be ended.
    Answer(R),
    /// Answer it ourselves; the call is over.
    Refused(Refusal),
}

/// Drives a call until there is something to tell the client.
pub async fn drive<W: World>(call: &mut Call, world: &mut W) -> Verdict<W::Reply> {
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
                match world.wait(until).await {
                    Ok(()) => {
                        let now = world.now();
                        world.with(|cluster, draw| call.woke(cluster, draw, now))
                    }
                    Err(why) => {
                        let now = world.now();
                        world.with(|cluster, _| call.ended(cluster, now));
                        return Verdict::Refused(why);
                    }
                }
            }
            Step::Answer => {
                return match reply {
                    Some(reply) => Verdict::Answer(reply),
                    // An outcome with a response comes with its reply; a world that breaks this has lost it.
                    None => {
                        let now = world.now();
                        world.with(|cluster, _| call.ended(cluster, now));
                        Verdict::Refused(Refusal::Closed)
                    }
                };
            }
            Step::Refuse(why) => return Verdict::Refused(why),
        };
    }
}
