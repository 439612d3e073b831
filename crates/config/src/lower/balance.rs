//! `loadBalancer` → [`weir_policy::balance::Rules`].

use crate::kind::destination_rule::Balance;
use weir_policy::balance::Rules;

pub fn lower(written: Option<Balance>) -> Rules {
    match written {
        None | Some(Balance::LeastRequest) => Rules::LeastRequest,
        Some(Balance::RoundRobin) => Rules::RoundRobin,
        Some(Balance::Random) => Rules::Random,
    }
}
