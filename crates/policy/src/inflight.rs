//! Ceilings on what is under way to one cluster: connections, waiting requests, requests, retries.
//!
//! ```text
//!   request ─► requests? ─► idle connection ─────────────────────► sent
//!                              │ none
//!                              ├─ connections below the ceiling, or none of ours to that endpoint ─► dial (waiting)
//!                              └─ else waiting for one to be free (waiting)
//!   waiting above its ceiling, or requests above theirs: refused, 503 UO, never retried
//! ```
//! The counts are of the whole process. Does not: queue anything itself.

/// `trafficPolicy.connectionPool`'s ceilings. `u32::MAX` = none, which is Istio's default for all four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// `tcp.maxConnections`; a worker without a connection to the chosen endpoint may open one all the same.
    pub connections: u32,
    /// `http.http1MaxPendingRequests`: requests that wait for a connection (being dialled or busy).
    pub pending: u32,
    /// `http.http2MaxRequests`: requests in flight, over HTTP/1.1 too.
    pub requests: u32,
    /// `http.maxRetries`: retries at the same time, back-off included.
    pub retries: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { connections: u32::MAX, pending: u32::MAX, requests: u32::MAX, retries: u32::MAX }
    }
}

/// What is under way now.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Inflight {
    pub connections: u32,
    pub pending: u32,
    pub requests: u32,
    pub retries: u32,
}

/// What a worker has to the chosen endpoint already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    None,
    Some,
}

/// How a request that found no idle connection goes on. Either way it counts as waiting until it has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Open a connection (counted already).
    Dial,
    /// Wait for one of the worker's own to be free.
    Queue,
}

/// The ceiling that said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Inflight {
    /// May a request start? Counts it when it may; [`Inflight::done`] gives it back.
    pub const fn admit(&mut self, rules: &Rules) -> Result<(), Full> {
        if self.requests >= rules.requests {
            return Err(Full);
        }
        self.requests += 1;
        Ok(())
    }

    /// A request that was admitted is over.
    pub const fn done(&mut self) {
        debug_assert!(self.requests > 0, "a request ended that never started");
        self.requests = self.requests.saturating_sub(1);
    }

    /// No idle connection: dial or queue? Counts the waiting request, and the connection when it is to be dialled.
    pub const fn wait(&mut self, rules: &Rules, held: Held) -> Result<Wait, Full> {
        if self.pending >= rules.pending {
            return Err(Full);
        }
        self.pending += 1;
        match held {
            Held::Some if self.connections >= rules.connections => Ok(Wait::Queue),
            Held::None | Held::Some => {
                self.connections += 1;
                Ok(Wait::Dial)
            }
        }
    }

    /// May a connection be opened that nothing else will ever use? Counts it when it may. A TCP connection is not
    /// queued: the one that it would wait for is not given back.
    pub const fn connect(&mut self, rules: &Rules) -> Result<(), Full> {
        if self.connections >= rules.connections {
            return Err(Full);
        }
        self.connections += 1;
        Ok(())
    }

    /// A waiting request has its connection, or gave up.
    pub const fn waited(&mut self) {
        debug_assert!(self.pending > 0, "a wait ended that never began");
        self.pending = self.pending.saturating_sub(1);
    }

    /// A connection is gone, or could not be opened.
    pub const fn disconnected(&mut self) {
        debug_assert!(self.connections > 0, "a connection ended that never was");
        self.connections = self.connections.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_connection_may_always_dial_within_the_queue() {
        let rules = Rules { connections: 1, pending: 2, ..Rules::default() };
        let mut now = Inflight::default();
        assert_eq!(now.wait(&rules, Held::None), Ok(Wait::Dial));
        assert_eq!(now.wait(&rules, Held::None), Ok(Wait::Dial), "another worker: Envoy's rule");
        assert_eq!(now.wait(&rules, Held::None), Err(Full), "but the queue is bounded");
        now.waited();
        assert_eq!(now.wait(&rules, Held::Some), Ok(Wait::Queue));
    }

    #[test]
    fn requests_are_given_back() {
        let rules = Rules { requests: 1, ..Rules::default() };
        let mut now = Inflight::default();
        assert_eq!(now.admit(&rules), Ok(()));
        assert_eq!(now.admit(&rules), Err(Full));
        now.done();
        assert_eq!(now.admit(&rules), Ok(()));
    }
}
