//! Virtual time: never negative, never above what is allowed, fair; and tables that stay within their bounds.

use super::*;
use crate::route::Headers;
use proptest::prelude::*;
use std::net::Ipv4Addr;

const fn bucket(requests: u32, millis: u64, burst: u32) -> Amount {
    Amount::bucket(requests, Duration::from_millis(millis), burst)
}

const fn rolling(requests: u32, millis: u64) -> Amount {
    Amount { requests, per: Duration::from_millis(millis), burst: requests, how: How::Rolling }
}

const fn fixed(requests: u32, millis: u64) -> Amount {
    Amount { how: How::Fixed, ..rolling(requests, millis) }
}

/// One key of an amount.
#[derive(Default)]
struct One {
    cell: Cell,
    slices: Slices,
}

impl One {
    fn take(&mut self, amount: &Amount, cost: u32, nanos: u64) -> Taken {
        let now = Time::from_nanos(nanos);
        match amount.how {
            How::Rolling => amount.take_rolling(&mut self.slices, cost, now),
            How::Bucket | How::Fixed => amount.take(&mut self.cell, cost, now),
        }
    }
}

const MILLI: u64 = 1_000_000;

fn allowed(amount: &Amount, one: &mut One, millis: impl IntoIterator<Item = u64>) -> usize {
    millis.into_iter().filter(|at| one.take(amount, 1, at * MILLI).verdict == Verdict::Allowed).count()
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let (amount, mut one) = (bucket(100, 1000, 200), One::default());
    assert_eq!(allowed(&amount, &mut one, [5; 300]), 200);
    assert_eq!(allowed(&amount, &mut one, 6..=1005), 100, "one each 10 ms");
    let taken = one.take(&amount, 1, 1010 * MILLI);
    assert_eq!((taken.verdict, taken.level.remaining), (Verdict::Limited, 0));
    assert_eq!(taken.level.reset, Duration::from_millis(5));
    assert_eq!(taken.level.retry_after(), 1);
}

#[test]
fn what_does_not_divide_is_carried() {
    // Three a second: a third of a second is no whole number of nanoseconds.
    let (amount, mut one) = (bucket(3, 1000, 1), One::default());
    let every = (0..1_000_000).filter(|milli| one.take(&amount, 1, milli * MILLI).verdict == Verdict::Allowed).count();
    assert!((2_990..=3_000).contains(&every), "{every} in 1,000 s");
}

#[test]
fn costs_are_taken_whole_or_not_at_all() {
    let (amount, mut one) = (bucket(10, 1000, 10), One::default());
    assert_eq!(one.take(&amount, 7, 0).level.remaining, 3);
    let taken = one.take(&amount, 5, 0);
    assert_eq!((taken.verdict, taken.level.remaining), (Verdict::Limited, 3));
    assert_eq!(taken.level.reset, Duration::from_millis(200), "two are missing");
    assert_eq!(one.take(&amount, 3, 0).verdict, Verdict::Allowed);
    assert_eq!(one.take(&amount, 0, 0).verdict, Verdict::Allowed);
    assert_eq!(one.take(&amount, 11, 60_000 * MILLI).verdict, Verdict::Limited, "more than there ever is");
}

#[test]
fn zero_allows_none() {
    for how in [How::Bucket, How::Fixed, How::Rolling] {
        let amount = Amount { how, ..bucket(0, 1000, 0) };
        let taken = One::default().take(&amount, 1, 5);
        assert_eq!((taken.verdict, taken.level.remaining), (Verdict::Limited, 0), "{how:?}");
        assert_eq!(taken.level.reset.as_secs(), 1);
    }
}

#[test]
fn a_fixed_window_begins_with_the_first_and_ends_at_once() {
    let (amount, mut one) = (fixed(5, 1000), One::default());
    assert_eq!(allowed(&amount, &mut one, [700; 9]), 5);
    let taken = one.take(&amount, 1, 1200 * MILLI);
    assert_eq!((taken.verdict, taken.level.reset), (Verdict::Limited, Duration::from_millis(500)));
    assert_eq!(allowed(&amount, &mut one, [1700; 9]), 5);
}

#[test]
fn a_rolling_window_gives_back_what_is_old_enough() {
    let (amount, mut one) = (rolling(4, 1000), One::default());
    assert_eq!(allowed(&amount, &mut one, [0, 0, 500, 500, 500]), 4);
    assert_eq!(one.take(&amount, 1, 1000 * MILLI).level.reset, Duration::from_millis(50));
    assert_eq!(allowed(&amount, &mut one, [1049, 1050, 1050, 1050]), 2);
    assert_eq!(allowed(&amount, &mut one, [1549, 1550, 1550, 1550]), 2);
}

#[test]
fn other_rules_never_give_back_what_is_used() {
    let mut one = One::default();
    assert_eq!(allowed(&bucket(10, 1000, 10), &mut one, [0; 20]), 10);
    assert_eq!(allowed(&bucket(10, 1000, 40), &mut one, [0; 50]), 30, "a larger burst has room for what is owed");
    assert_eq!(allowed(&bucket(10, 1000, 5), &mut one, [0; 50]), 0);
    assert_eq!(allowed(&bucket(10, 1000, 5), &mut one, [500; 50]), 5, "and a smaller one owes no more than it holds");
    let mut one = One::default();
    assert_eq!(allowed(&bucket(5, 60_000, 5), &mut one, [0; 20]), 5);
    assert_eq!(allowed(&bucket(8, 3_600_000, 8), &mut one, [0; 20]), 3, "tokens are owed, not time");
    let mut one = One::default();
    assert_eq!(allowed(&rolling(10, 100_000), &mut one, [500_000; 20]), 10);
    assert_eq!(allowed(&rolling(10, 1000), &mut one, [500_001; 20]), 0);
    assert_eq!(allowed(&rolling(10, 1000), &mut one, [502_000; 20]), 10);
}

/// A key, when it comes (nanoseconds behind the one before), and its cost.
fn arrivals() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![Just(0), 0..1_000u64, 0..50_000_000u64, 0..3_000_000_000u64];
    prop::collection::vec((gap, prop_oneof![Just(1u32), 0..5u32]), 1..300)
}

/// The most that came through in any stretch of `length` nanoseconds.
fn most_within(through: &[(u64, u32)], length: u64) -> u64 {
    let sum = |(at, (start, _)): (usize, &(u64, u32))| {
        let within = through[at..].iter().take_while(|(time, _)| *time < start + length);
        within.map(|(_, cost)| u64::from(*cost)).sum()
    };
    through.iter().enumerate().map(sum).max().unwrap_or_default()
}

proptest! {
    #[test]
    fn no_stretch_of_time_has_more_than_is_allowed(
        arrivals in arrivals(),
        requests in 1..50u32,
        per in 1..5_000u64,
        burst in 1..100u32,
    ) {
        let amounts = [bucket(requests, per, burst), rolling(requests, per), fixed(requests, per)];
        for amount in amounts {
            let (mut one, mut now, mut through) = (One::default(), 0, Vec::new());
            for (gap, cost) in &arrivals {
                now += gap;
                let taken = one.take(&amount, *cost, now);
                prop_assert!(taken.level.remaining <= amount.limit());
                if taken.verdict == Verdict::Allowed {
                    through.push((now, *cost));
                } else {
                    prop_assert!(*cost > taken.level.remaining, "refused though there was enough: {amount:?}");
                    let later = now + u64::try_from(taken.level.reset.as_nanos()).unwrap();
                    let mut copy = One { cell: one.cell, slices: one.slices };
                    if *cost <= amount.limit() {
                        prop_assert_eq!(copy.take(&amount, *cost, later).verdict, Verdict::Allowed, "reset tells the truth");
                    }
                }
            }
            let per = per * MILLI;
            let most = match amount.how {
                How::Bucket => u64::from(burst) + u64::from(requests),
                How::Rolling => u64::from(requests),
                How::Fixed => 2 * u64::from(requests),
            };
            prop_assert!(most_within(&through, per) <= most, "{amount:?}");
        }
    }

    #[test]
    fn refill_is_fair_however_it_is_asked_for(gaps in prop::collection::vec(1..20_000_000u64, 200..400)) {
        // Ten a second against far more: what comes through is the rate, whatever the rhythm.
        let (amount, mut one, mut now, mut through) = (bucket(10, 1000, 1), One::default(), 0, 0u64);
        for gap in gaps.iter().cycle().take(2_000) {
            now += gap;
            through += u64::from(one.take(&amount, 1, now).verdict == Verdict::Allowed);
        }
        let seconds = now as f64 / 1e9;
        // A token waits at most one gap: 20 ms of 100.
        prop_assert!(through as f64 <= seconds * 10.0 + 1.0 && through as f64 >= seconds * 10.0 / 1.2 - 1.0, "{through} in {seconds}");
    }
}

#[test]
fn a_table_keeps_keys_in_use_and_forgets_within_its_bound() {
    let mut table: Keyed<Cell> = Keyed::new(1_000);
    let (amount, sip) = (bucket(1, 60_000, 1), Sip::new(1, 2));
    let tag = |key: u32| sip.hash(&[&key.to_le_bytes()]);
    let now = Time::from_millis(1);
    for key in 0..1_000 {
        assert_eq!(amount.take(table.of(tag(key), now), 1, now).verdict, Verdict::Allowed);
    }
    let still = (0..1_000).filter(|key| amount.take(table.of(tag(*key), now), 1, now).verdict == Verdict::Limited);
    assert_eq!((still.count(), table.evicted), (1_000, 0));
    for key in 1_000..100_000 {
        amount.take(table.of(tag(key), now), 1, now);
    }
    assert!(table.keys() <= 2_048 && table.evicted > 90_000, "{} {}", table.keys(), table.evicted);
    // A minute later they are all as new: nothing is lost any more.
    assert_eq!(table.get(tag(100_001)), None);
    let (evicted, later) = (table.evicted, Time::from_millis(60_002));
    for key in 0..1_000 {
        assert_eq!(amount.take(table.of(tag(key), later), 1, later).verdict, Verdict::Allowed);
    }
    assert_eq!(table.evicted, evicted);
}

#[test]
fn a_million_keys_take_less_than_128_mib_and_none_is_forgotten() {
    // As the proxy has them: many small tables.
    let mut tables: Vec<Keyed<Cell>> = (0..256).map(|_| Keyed::new(1_000_000 / 256)).collect();
    let (amount, sip, now) = (bucket(1, 60_000, 1), Sip::new(1, 2), Time::from_millis(1));
    for key in 0..1_000_000u32 {
        let tag = sip.hash(&[&key.to_le_bytes()]);
        amount.take(tables[(tag >> 56) as usize].of(tag, now), 1, now);
    }
    let places: usize = tables.iter().map(|table| table.tags()).sum();
    let bytes = places * (size_of::<u64>() + size_of::<Cell>());
    assert!(bytes <= 128 << 20, "{bytes}");
    let evicted: u64 = tables.iter().map(|table| table.evicted).sum();
    assert!(evicted < 1_000, "{evicted} of a million");
}

struct Pairs(&'static [(&'static str, &'static str)]);

impl Headers for Pairs {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
    }
}

fn facts(headers: &Pairs) -> Facts<'_> {
    Facts {
        authority: b"app",
        method: b"GET",
        scheme: b"http",
        path: b"/x",
        query: Some(b"a=1&user=u7&user=u8"),
        port: 80,
        headers,
    }
}

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[test]
fn keys_are_what_the_request_says_and_missing_is_a_key_too() {
    let parts = |parts: &[Part], headers: &'static [(&'static str, &'static str)]| {
        Key::of(parts, &facts(&Pairs(headers)), PEER)
    };
    let tenant = Part::Header("x-tenant".into());
    let acme: &[(&str, &str)] = &[("x-tenant", "acme"), ("x-tenant", "other")];
    assert_eq!(parts(std::slice::from_ref(&tenant), acme), Key::written(["acme"]));
    assert_ne!(parts(std::slice::from_ref(&tenant), &[]), Key::written([""]));
    let all = [Part::ClientAddress, Part::Method, Part::Path, Part::Query("user".into())];
    assert_eq!(parts(&all, &[]), Key::written(["10.0.0.1", "GET", "/x", "u7"]));
    let cookie = [Part::Cookie("sid".into())];
    assert_eq!(parts(&cookie, &[("cookie", "a=b; sidx=1"), ("cookie", "sid=s1; c")]), Key::written(["s1"]));
    let values: Vec<Vec<u8>> = parts(&all, &[]).values().map(<[u8]>::to_vec).collect();
    assert_eq!(values, ["10.0.0.1", "GET", "/x", "u7"].map(|value| Key::written([value]).bytes().to_vec()));
    assert_ne!(Key::written(["ab", "c"]), Key::written(["a", "bc"]));
    let long = "x".repeat(200);
    assert_ne!(Key::written([&*long]), Key::written([&long[1..]]));
    assert_eq!(Key::written([&*long, &*long, &*long, &*long, "more"]), Key::written([&*long; 4]));
}

#[test]
fn overrides_costs_and_conditions_shape_the_wish() {
    let mut rules = Rules::new("n/p#r".into(), bucket(1, 1000, 1));
    rules.key = vec![Part::Header("x-tenant".into())];
    rules.overrides =
        vec![Override { values: vec![Some(Key::written(["gold"]).bytes().into())], amount: bucket(1000, 1000, 1000) }];
    rules.cost = Cost { header: Some("x-cost".into()), default: 2 };
    let wish = |rules: &Rules, headers| rules.wish(&facts(&Pairs(headers)), PEER);
    let gold = wish(&rules, &[("x-tenant", "gold"), ("x-cost", " 5 ")]).expect("a wish");
    assert_eq!((gold.amount.requests, gold.cost), (1000, 5));
    let other = wish(&rules, &[("x-tenant", "tin"), ("x-cost", "many")]).expect("a wish");
    assert_eq!((other.amount.requests, other.cost), (1, 2));
    rules.when = vec![Match { method: Some(crate::route::Pattern::Exact((*b"POST").into())), ..Match::default() }];
    assert!(wish(&rules, &[]).is_none());
}

#[test]
fn what_the_store_could_not_say_is_decided_by_the_rule() {
    let mut rules = Rules::new("n/p#r".into(), bucket(1, 1000, 1));
    let shared =
        |on_error| Some(Shared { url: "redis://x".into(), timeout: Duration::from_millis(5), on_error, slice: None });
    rules.shared = shared(OnError::Allow);
    assert!(!rules.refuses(Said::Unknown));
    rules.shared = shared(OnError::Deny);
    assert!(rules.refuses(Said::Unknown));
    rules.mode = Mode::Shadow;
    assert!(!rules.refuses(Said::Unknown));
}
