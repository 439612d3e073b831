//! `fault` → [`weir_policy::fault::Rules`].

use crate::kind::fault::{Fault, Status as Words};
use weir_policy::fault::{Abort, AbortStatus, Delay, Length, Rules, Status};
use weir_policy::share::Share;

/// What a rule's `fault` injects; without a percentage nothing, as in Istio.
pub fn lower(written: &Fault) -> Rules {
    let share = |percentage: Option<f64>| percentage.map_or(Share::NONE, Share::of_percent);
    Rules {
        delay: written
            .delay
            .as_ref()
            .map(|delay| Delay { length: Length::Fixed(delay.length), share: share(delay.percentage) }),
        abort: written
            .abort
            .as_ref()
            .map(|abort| Abort { status: AbortStatus::Fixed(status(abort.status)), share: share(abort.percentage) }),
        headers: Vec::new(),
    }
}

const fn status(written: Words) -> Status {
    match written {
        Words::Http(status) => Status::Http(status),
        Words::Grpc(status) => Status::Grpc(status),
    }
}
