//! The rules of a script: `retry: on 5xx reset, attempts 2`; one line per policy, the words are those of its `Rules`.
//!
//! Does not: know Istio's words (`weir-config` does); defaults are those of the policies.

use super::outcome::length;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::balance::key::Key;
use weir_policy::balance::{Hash, Shape};
use weir_policy::budget::Written;
use weir_policy::discovery::Discovery;
use weir_policy::fault::{Abort, AbortStatus, Delay, Length, Status};
use weir_policy::filter::{Chain, Filter};
use weir_policy::limit::{Fill, Limit, LimitIndex};
use weir_policy::outlier::Origin;
use weir_policy::place::Place;
use weir_policy::plan::{Endpoint, Service, Upstream};
use weir_policy::retry::{Conditions, NonIdempotent, Previous};
use weir_policy::share::Share;
use weir_policy::{balance, budget, connection, fault, inflight, limit, outlier, rate, retry, timeout};

/// What a script's calls meet.
#[derive(Clone, Debug)]
pub struct Rules {
    pub upstream: Upstream,
    pub retry: Option<retry::Rules>,
    pub timeout: timeout::Rules,
    pub fault: fault::Rules,
    pub limit: Option<Fill>,
    pub rate: Option<rate::Amount>,
    /// Of the generator that decisions draw from.
    pub seed: u64,
    /// Steps of calls are not shown.
    pub only_looks: bool,
}

impl Default for Rules {
    /// Three endpoints in turn, no retries, no limits.
    fn default() -> Self {
        Self {
            upstream: upstream(3),
            retry: None,
            timeout: timeout::Rules::default(),
            fault: fault::Rules::default(),
            limit: None,
            rate: None,
            seed: 1,
            only_looks: false,
        }
    }
}

/// An upstream with so many endpoints, 10.0.0.1 and on, round robin, without limits or budget.
pub fn upstream(endpoints: u8) -> Upstream {
    Upstream {
        id: "default/app|80|".into(),
        name: "outbound|80||app".into(),
        service: Service {
            host: "app".into(),
            name: "app".into(),
            namespace: "default".into(),
            port: 80,
            subset: "".into(),
        },
        discovery: Discovery::default(),
        endpoints: (1..=endpoints).map(|last| endpoint(last, 1)).collect(),
        balance: balance::Rules::RoundRobin,
        inflight: inflight::Rules::default(),
        budget: budget::Rules::Off,
        connection: connection::Rules::default(),
        outlier: None,
        origins: weir_policy::origin::Origins::default(),
        place: Place::default(),
    }
}

/// `10.0.0.LAST:80`.
pub fn endpoint(last: u8, weight: u32) -> Endpoint {
    let address = SocketAddr::from(([10, 0, 0, last], 80));
    Endpoint { address, weight, workload: "".into(), place: Place::default() }
}

/// One `key value` of a line.
struct Setting<'a> {
    key: &'a str,
    value: &'a str,
}

impl Setting<'_> {
    fn number<T: std::str::FromStr>(&self) -> Result<T, String> {
        self.value.parse().map_err(|_| format!("{} {}: not a number that fits", self.key, self.value))
    }

    fn length(&self) -> Result<Duration, String> {
        length(self.value)
    }

    /// Statuses, with spaces between.
    fn codes(&self) -> Result<Vec<u16>, String> {
        self.value.split(' ').map(|code| code.parse().map_err(|_| format!("{code}: no status"))).collect()
    }

    fn unknown<T>(&self) -> Result<T, String> {
        Err(format!("{} {}: no such setting", self.key, self.value))
    }
}

impl Rules {
    /// Takes one line, `policy: key value, key value`.
    pub fn set(&mut self, line: &str) -> Result<(), String> {
        let (policy, rest) = line.split_once(':').ok_or("policy: key value, …")?;
        let settings = rest.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once(' ').unwrap_or((part, ""));
            Setting { key, value: value.trim() }
        });
        match policy {
            "endpoints" => self.endpoints(rest.trim())?,
            "show" if rest.trim() == "looks" => self.only_looks = true,
            "seed" => self.seed = rest.trim().parse().map_err(|_| "seed: NUMBER")?,
            "retry" => {
                let mut rules = retry::Rules::default();
                settings.into_iter().try_for_each(|setting| set_retry(&mut rules, &setting))?;
                self.retry = Some(rules);
            }
            "timeout" => settings.into_iter().try_for_each(|setting| set_timeout(&mut self.timeout, &setting))?,
            "fault" | "limit" | "rate" => {
                settings.into_iter().try_for_each(|setting| self.set_filter(policy, &setting))?;
            }
            "inflight" => {
                let ceilings = &mut self.upstream.inflight;
                settings.into_iter().try_for_each(|setting| set_inflight(ceilings, &setting))?;
            }
            "budget" => settings.into_iter().try_for_each(|setting| set_budget(&mut self.upstream.budget, &setting))?,
            "balance" => {
                settings.into_iter().try_for_each(|setting| set_balance(&mut self.upstream.balance, &setting))?;
            }
            "outlier" if rest.trim() == "off" => self.upstream.outlier = None,
            "outlier" => {
                let mut rules = outlier::Rules::default();
                settings.into_iter().try_for_each(|setting| set_outlier(&mut rules, &setting))?;
                self.upstream.outlier = Some(rules);
            }
            _ => return Err(format!("{policy}: no such policy")),
        }
        Ok(())
    }

    fn set_filter(&mut self, filter: &str, setting: &Setting<'_>) -> Result<(), String> {
        let second = Duration::from_secs(1);
        match filter {
            "fault" => set_fault(&mut self.fault, setting),
            "limit" => set_limit(self.limit.get_or_insert(Fill { max: 1, per_fill: 1, interval: second }), setting),
            _ => set_rate(self.rate.get_or_insert(rate::Amount::bucket(1, second, 1)), setting),
        }
    }

    /// What every request passes first: the fault, then the limits.
    pub fn chain(&self) -> Chain {
        let fault = Some(Filter::Fault(self.fault.clone())).filter(|_| !self.fault.is_idle());
        let limit = self.limit.map(|fill| {
            let always = limit::Rules::new("default/limit#0".into(), Some(fill));
            let rules = limit::Rules { enabled: Share::ALL, enforced: Share::ALL, ..always };
            Filter::Limit(Limit { rules: Arc::new(rules), index: LimitIndex(0), actions: Vec::new() })
        });
        let rate = self.rate.map(|amount| {
            let rules = Arc::new(rate::Rules::new("default/rate#0".into(), amount));
            Filter::Rate(rate::Limit { rules, index: rate::RateIndex(0) })
        });
        Chain { filters: fault.into_iter().chain(limit).chain(rate).collect() }
    }

    /// `3`, or `10.0.0.1 weight 2, 10.0.0.4`: the last numbers of their addresses name them.
    fn endpoints(&mut self, text: &str) -> Result<(), String> {
        if let Ok(count) = text.parse() {
            self.upstream.endpoints = upstream(count).endpoints;
            return Ok(());
        }
        let one = |part: &str| {
            let (address, weight) = part.trim().split_once(" weight ").unwrap_or((part.trim(), "1"));
            let last = address.strip_prefix("10.0.0.").and_then(|last| last.parse().ok());
            let weight = weight.parse().ok().filter(|weight| *weight > 0);
            last.zip(weight).map(|(last, weight)| endpoint(last, weight)).ok_or(format!("{part}: 10.0.0.N weight M"))
        };
        self.upstream.endpoints = text.split(',').map(one).collect::<Result<_, _>>()?;
        Ok(())
    }
}

fn set_retry(rules: &mut retry::Rules, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "attempts" => rules.attempts = setting.number()?,
        "on" => {
            rules.on = Conditions::default();
            for word in setting.value.split(' ') {
                let condition = Conditions::of_word(word).ok_or(format!("{word}: no such condition"))?;
                rules.on = rules.on.with(condition);
            }
        }
        "codes" => rules.codes = setting.codes()?,
        "base" => rules.back_off.base = setting.length()?,
        "max" => rules.back_off.max = setting.length()?,
        "previous" if setting.value == "allow" => rules.previous = Previous::Allow,
        "picks" => rules.picks = setting.number()?,
        "guard" if setting.value == "off" => rules.non_idempotent = NonIdempotent::Retry,
        _ => return setting.unknown(),
    }
    Ok(())
}

/// `delay 100ms of 10`, `abort 503 of 2.5`: percent of the requests.
fn set_fault(rules: &mut fault::Rules, setting: &Setting<'_>) -> Result<(), String> {
    let (value, percent) = setting.value.split_once(" of ").ok_or("VALUE of PERCENT")?;
    let share = Share::of_percent(percent.parse().map_err(|_| format!("{percent}: no percentage"))?);
    match setting.key {
        "delay" => rules.delay = Some(Delay { length: Length::Fixed(length(value)?), share }),
        "abort" => {
            let status = value.parse().map_err(|_| format!("{value}: no status"))?;
            rules.abort = Some(Abort { status: AbortStatus::Fixed(Status::Http(status)), share });
        }
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_limit(fill: &mut Fill, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "tokens" => fill.max = setting.number()?,
        "per_fill" => fill.per_fill = setting.number()?,
        "interval" => fill.interval = setting.length()?,
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_rate(amount: &mut rate::Amount, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "requests" => amount.requests = setting.number()?,
        "per" => amount.per = setting.length()?,
        "burst" => amount.burst = setting.number()?,
        "fixed" => amount.how = rate::How::Fixed,
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_timeout(rules: &mut timeout::Rules, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "whole" => rules.whole = Some(setting.length()?),
        "per_try" => rules.per_try = Some(setting.length()?),
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_inflight(rules: &mut inflight::Rules, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "connections" => rules.connections = setting.number()?,
        "pending" => rules.pending = setting.number()?,
        "requests" => rules.requests = setting.number()?,
        "retries" => rules.retries = setting.number()?,
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_budget(rules: &mut budget::Rules, setting: &Setting<'_>) -> Result<(), String> {
    let mut written = match rules {
        budget::Rules::Written(written) => *written,
        budget::Rules::Default | budget::Rules::Off => Written::default(),
    };
    match setting.key {
        "default" => {
            *rules = budget::Rules::Default;
            return Ok(());
        }
        "off" => {
            *rules = budget::Rules::Off;
            return Ok(());
        }
        "percent" => written.percent = setting.number()?,
        "minimum" => written.minimum = setting.number()?,
        "interval" => written.interval = Some(setting.length()?),
        _ => return setting.unknown(),
    }
    *rules = budget::Rules::Written(written);
    Ok(())
}

fn set_outlier(rules: &mut outlier::Rules, setting: &Setting<'_>) -> Result<(), String> {
    match setting.key {
        "errors" if setting.value == "off" => rules.errors = None,
        "errors" => rules.errors = Some(setting.number()?),
        "gateway" => rules.gateway = Some(setting.number()?),
        "split" => rules.origin = Origin::Split(Some(setting.number()?)),
        "codes" => rules.codes = setting.codes()?,
        "interval" => rules.interval = setting.length()?,
        "base" => rules.base = setting.length()?,
        "longest" => rules.longest = setting.length()?,
        "jitter" => rules.jitter = setting.length()?,
        "max_percent" => rules.max_percent = setting.number()?,
        "min_health_percent" => rules.min_health_percent = setting.number()?,
        _ => return setting.unknown(),
    }
    Ok(())
}

fn set_balance(rules: &mut balance::Rules, setting: &Setting<'_>) -> Result<(), String> {
    *rules = match setting.key {
        "round_robin" => balance::Rules::RoundRobin,
        "least_request" => balance::Rules::LeastRequest,
        "random" => balance::Rules::Random,
        "ring" => hash(Shape::Ring(setting.number()?)),
        "maglev" => hash(Shape::Maglev(setting.number()?)),
        _ => return setting.unknown(),
    };
    Ok(())
}

/// By what is hashed is the route's matter: a script's calls bring their hashes.
const fn hash(shape: Shape) -> balance::Rules {
    balance::Rules::Hash(Hash { key: Key::Source, shape })
}
