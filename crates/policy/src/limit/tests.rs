//! Virtual time: what is taken, what comes back, what a reload keeps.

use super::*;
use crate::route::Headers;
use std::net::Ipv4Addr;

const fn fill(max: u32, per_fill: u32, seconds: u64) -> Fill {
    Fill { max, per_fill, interval: Duration::from_secs(seconds) }
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn rules(fill: Fill) -> Rules {
    Rules { enabled: Share::ALL, enforced: Share::ALL, ..Rules::new("default/it#0".into(), Some(fill)) }
}

struct Pairs(&'static [(&'static str, &'static str)]);

impl Headers for Pairs {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
    }
}

#[test]
fn a_bucket_starts_full_and_fills_steadily() {
    let fill = fill(2, 2, 2);
    let mut bucket = Bucket::full(&fill, at(0));
    let mut admit = |millis| bucket.admit(&fill, at(millis));
    assert_eq!([admit(0), admit(0), admit(0)], [Verdict::Allowed, Verdict::Allowed, Verdict::Limited]);
    assert_eq!(admit(999), Verdict::Limited);
    assert_eq!(admit(1000), Verdict::Allowed, "one token a second");
    assert_eq!(admit(1000), Verdict::Limited);
    assert_eq!([admit(60_000), admit(60_000), admit(60_000)], [Verdict::Allowed, Verdict::Allowed, Verdict::Limited]);
}

#[test]
fn numbers_tell_whole_tokens_and_seconds_to_the_next() {
    let fill = fill(4, 2, 10);
    let mut bucket = Bucket::full(&fill, at(0));
    assert_eq!(bucket.numbers(&fill, at(0)), Numbers { limit: 4, remaining: 4, reset: 0 });
    (0..4).for_each(|_| assert_eq!(bucket.admit(&fill, at(0)), Verdict::Allowed));
    assert_eq!(bucket.numbers(&fill, at(0)), Numbers { limit: 4, remaining: 0, reset: 5 });
    assert_eq!(bucket.numbers(&fill, at(4_500)), Numbers { limit: 4, remaining: 0, reset: 1 });
    assert_eq!(bucket.numbers(&fill, at(5_000)), Numbers { limit: 4, remaining: 1, reset: 0 });
}

#[test]
fn over_a_long_time_as_many_pass_as_the_rate_says() {
    let fill = fill(10, 100, 1);
    let mut bucket = Bucket::full(&fill, at(0));
    let passed = (0..10_000).filter(|millis| bucket.admit(&fill, at(*millis)) == Verdict::Allowed).count();
    assert!((1_000..=1_010).contains(&passed), "100 a second for 10 s and the 10 at first: {passed}");
}

#[test]
fn time_that_runs_backwards_gives_no_token() {
    let fill = fill(1, 1, 1);
    let mut bucket = Bucket::full(&fill, at(5_000));
    assert_eq!(bucket.admit(&fill, at(5_000)), Verdict::Allowed);
    assert_eq!(bucket.admit(&fill, at(1_000)), Verdict::Limited);
    assert_eq!(bucket.admit(&fill, at(5_999)), Verdict::Limited);
    assert_eq!(bucket.admit(&fill, at(6_000)), Verdict::Allowed);
}

#[test]
fn a_reload_keeps_the_tokens_and_clamps_them_to_the_new_burst() {
    let mut tokens = Tokens::new(Arc::new(rules(fill(10, 1, 60))), at(0));
    (0..4).for_each(|_| assert_eq!(tokens.admit(&[], at(0)).verdict, Verdict::Allowed));
    drop(tokens.renew(Arc::new(rules(fill(100, 1, 60))), at(0)));
    assert_eq!(tokens.numbers(Which::Default, at(0)).map(|numbers| numbers.remaining), Some(6), "not refilled");
    drop(tokens.renew(Arc::new(rules(fill(3, 1, 60))), at(0)));
    assert_eq!(tokens.numbers(Which::Default, at(0)).map(|numbers| numbers.remaining), Some(3), "clamped");
    assert_eq!((tokens.allowed, tokens.limited), (4, 0));
}

fn tiered() -> Rules {
    let entry = |key: &str, value: &str| Entry { key: key.into(), value: value.into() };
    let free = Descriptor { entries: vec![entry("tier", "free")], fill: fill(1, 1, 60) };
    let gold = Descriptor { entries: vec![entry("tier", "gold"), entry("path", "/x?a=1")], fill: fill(2, 4, 60) };
    Rules { descriptors: vec![gold, free], ..rules(fill(3, 3, 60)) }
}

fn limit(rules: Rules) -> Limit {
    let header = |name: &str, key: &str| Action::Header { name: name.into(), key: key.into(), absent: Absent::Drop };
    let actions = vec![vec![header("x-tier", "tier")], vec![header("x-tier", "tier"), header(":path", "path")]];
    Limit { rules: Arc::new(rules), index: LimitIndex(0), actions }
}

fn matched(limit: &Limit, headers: &'static [(&'static str, &'static str)]) -> Vec<usize> {
    let facts = Facts {
        authority: b"app",
        method: b"GET",
        scheme: b"http",
        path: b"/x",
        query: Some(b"a=1"),
        port: 80,
        headers: &Pairs(headers),
    };
    limit.matched(&facts, IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[test]
fn descriptors_have_their_own_buckets_and_the_default_is_asked_after_them() {
    let limit = limit(tiered());
    assert_eq!(matched(&limit, &[]), Vec::<usize>::new());
    assert_eq!(matched(&limit, &[("x-tier", "free")]), [1]);
    assert_eq!(matched(&limit, &[("x-tier", "gold")]), [0]);
    let mut tokens = Tokens::new(Arc::clone(&limit.rules), at(0));
    assert_eq!(tokens.admit(&[1], at(0)), Taken { verdict: Verdict::Allowed, which: Some(Which::Descriptor(1)) });
    assert_eq!(tokens.admit(&[1], at(0)), Taken { verdict: Verdict::Limited, which: Some(Which::Descriptor(1)) });
    assert_eq!(tokens.numbers(Which::Default, at(0)).map(|numbers| numbers.remaining), Some(2), "none for the second");
    assert_eq!(tokens.admit(&[], at(0)), Taken { verdict: Verdict::Allowed, which: Some(Which::Default) });
    assert_eq!((tokens.allowed, tokens.limited), (2, 1));
}

#[test]
fn without_always_the_default_is_for_the_undescribed() {
    let rules = Rules { default_use: DefaultUse::Unmatched, ..tiered() };
    let mut tokens = Tokens::new(Arc::new(rules), at(0));
    assert_eq!(tokens.admit(&[0], at(0)).verdict, Verdict::Allowed);
    assert_eq!(tokens.numbers(Which::Default, at(0)).map(|numbers| numbers.remaining), Some(3));
}
