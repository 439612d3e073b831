//! Scripts from seeds: small rules, many calls, clients that leave, rules that change.

use std::fmt::Write as _;
use weir_policy::rng::Rng;

/// The script of a seed, as text: what is printed when it fails can be kept as a file.
pub(crate) fn script(seed: u64) -> String {
    let mut dice = Dice(Rng::new(seed));
    let mut text = format!("seed: {seed}\n");
    for rules in [endpoints(&mut dice), balance(&mut dice), inflight(&mut dice), budget(&mut dice), outlier(&mut dice)]
    {
        let _ = writeln!(text, "{rules}");
    }
    if dice.chance(40) {
        let delay = dice.one(&["5ms of 30", "40ms of 10", "1ms of 100"]);
        let abort = dice.one(&["503 of 0", "418 of 20", "503 of 5"]);
        let _ = writeln!(text, "fault: delay {delay}, abort {abort}");
    }
    if dice.chance(40) {
        let _ = writeln!(text, "limit: tokens {}, interval {}ms", dice.between(2, 12), dice.between(50, 400));
    }
    if dice.chance(20) {
        let how = dice.one(&["burst 2", "burst 8", "fixed"]);
        let _ = writeln!(text, "rate: requests {}, per {}ms, {how}", dice.between(2, 12), dice.between(50, 400));
    }
    let on = ["5xx", "gateway-error", "connect-failure reset-before-request", "retriable-status-codes", "reset"];
    let previous = ["", ", previous allow", ", picks 1"];
    let _ = writeln!(
        text,
        "retry: on {}, attempts {}, codes 503, base {}ms, max 400ms{}",
        dice.one(&on),
        dice.between(1, 5),
        dice.between(1, 200),
        dice.one(&previous)
    );
    // Without any, silence would last for ever.
    let per_try = if dice.chance(60) { format!(", per_try {}ms", dice.between(10, 200)) } else { String::new() };
    let _ = writeln!(text, "timeout: whole {}ms{per_try}", dice.between(50, 900));
    let (mut at, mut calls) = (0, 0);
    for _ in 0..dice.between(10, 60) {
        at += dice.between(0, 40);
        let _ = match dice.below(20) {
            0 => writeln!(text, "{at}ms look"),
            1 => writeln!(text, "{at}ms {}", endpoints(&mut dice)),
            2 => writeln!(text, "{at}ms {}", inflight(&mut dice)),
            3 => writeln!(text, "{at}ms {}", outlier(&mut dice)),
            4 | 5 if calls > 0 => writeln!(text, "{at}ms leave {}", dice.between(1, calls)),
            _ => {
                calls += 1;
                writeln!(text, "{at}ms {}", call(&mut dice))
            }
        };
    }
    let _ = writeln!(text, "60s look");
    text
}

struct Dice(Rng);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn one<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.0.below(all.len() as u64) as usize]
    }
}

fn endpoints(dice: &mut Dice) -> String {
    let mut all = Vec::new();
    for last in 1..=6 {
        if dice.chance(50) {
            all.push(format!("10.0.0.{last} weight {}", dice.one(&["1", "1", "1", "3"])));
        }
    }
    if all.is_empty() { "endpoints: 1".to_owned() } else { format!("endpoints: {}", all.join(", ")) }
}

fn balance(dice: &mut Dice) -> String {
    format!("balance: {}", dice.one(&["round_robin", "random", "least_request", "ring 64", "maglev 11"]))
}

fn inflight(dice: &mut Dice) -> String {
    if dice.chance(40) {
        return "inflight: requests 1000, retries 1000, pending 1000, connections 1000".to_owned();
    }
    format!(
        "inflight: requests {}, retries {}, pending {}, connections {}",
        dice.between(1, 12),
        dice.between(1, 4),
        dice.between(1, 4),
        dice.between(1, 4)
    )
}

fn budget(dice: &mut Dice) -> String {
    dice.one(&["budget: off", "budget: default", "budget: percent 20, minimum 1", "budget: percent 50, interval 10s"])
        .to_owned()
}

fn outlier(dice: &mut Dice) -> String {
    if dice.chance(40) {
        return "outlier: off".to_owned();
    }
    format!(
        "outlier: errors {}, max_percent {}, interval {}ms, base {}ms, jitter 20ms, min_health_percent {}{}",
        dice.between(1, 4),
        dice.one(&["10", "34", "50", "100"]),
        dice.between(20, 500),
        dice.between(10, 600),
        dice.one(&["0", "0", "50"]),
        dice.one(&["", ", gateway 2", ", split 2"])
    )
}

fn call(dice: &mut Dice) -> String {
    let method = dice.one(&["GET", "GET", "GET", "POST", "PUT"]);
    let mut text = format!("{method} key={}", dice.below(5));
    for _ in 0..dice.between(1, 3) {
        let what = dice.one(&[
            "200",
            "200",
            "200",
            "500",
            "503",
            "503",
            "503/interim",
            "503/body-not-kept",
            "503/ratelimited",
            "closed",
            "closed/nothing",
            "closed/part",
            "reset",
            "protocol",
            "connect-failure",
            "connect-timeout",
            "silence",
        ]);
        let _ = write!(text, " {what}@{}ms", dice.between(0, 80));
        if what == "200" && dice.chance(30) {
            let _ = write!(text, "~{}ms", dice.between(1, 300));
        }
    }
    text
}
