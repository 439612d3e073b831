//! Tests of route tables: hosts, matches, rewrites, redirects.

use super::*;
use crate::filter::Chain;

struct NoHeaders;

impl Headers for NoHeaders {
    fn each(&self, _: &str, _: &mut dyn FnMut(&[u8])) {}
}

struct Pairs(&'static [(&'static str, &'static str)]);

impl Headers for Pairs {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
    }
}

fn facts<'a>(authority: &'a str, target: &'a str, headers: &'a dyn Headers) -> Facts<'a> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.as_bytes())));
    Facts {
        authority: authority.as_bytes(),
        method: b"GET",
        scheme: b"http",
        path: path.as_bytes(),
        query,
        port: 80,
        headers,
    }
}

fn direct(name: &str) -> Arc<Route> {
    let action = Action::Direct(Direct { status: 200, body: name.as_bytes().into() });
    Arc::new(Route {
        name: name.into(),
        action,
        headers: HeaderEdits::default(),
        chain: Chain::default(),
        origins: Origins::default(),
        place: Place::default(),
    })
}

fn host(name: &str, entries: Vec<Match>) -> VirtualHost {
    let entries = entries.into_iter().enumerate().map(|(index, when)| Entry { when, then: direct(&index.to_string()) });
    VirtualHost { name: name.into(), entries: entries.collect() }
}

fn named(pattern: &str, host: VirtualHost) -> Named {
    Named { patterns: [pattern.into()].into(), host: Arc::new(host) }
}

fn prefix(text: &str) -> Option<Pattern> {
    Some(Pattern::Prefix(text.as_bytes().into()))
}

#[test]
fn the_best_host_wins_whatever_its_case_port_or_final_dot() {
    let all = || vec![Match::default()];
    let table = Table::build(vec![
        named("*", host("any", all())),
        named("*.test", host("short", all())),
        named("*.app.test", host("long", all())),
        named("app.test", host("exact", all())),
        named("[::1]", host("six", all())),
    ]);
    let rows = [
        ("app.test", "exact"),
        ("APP.Test:8080", "exact"),
        ("app.test.", "exact"),
        ("app.test:", "exact"),
        ("a.app.test", "long"),
        ("a.b.app.test:1", "long"),
        ("b.test", "short"),
        ("test", "any"),
        ("[::1]:80", "six"),
        ("", "any"),
    ];
    for (authority, expected) in rows {
        match table.find(&facts(authority, "/", &NoHeaders)) {
            Found::Entry(host, _) => assert_eq!(&*host.name, expected, "{authority}"),
            other => panic!("{authority}: {other:?}"),
        }
    }
    let long = "a".repeat(300);
    assert!(matches!(Table::default().find(&facts(&long, "/", &NoHeaders)), Found::UnknownHost));
}

#[test]
fn all_conditions_of_a_match_must_hold() {
    let when = Match {
        path: prefix("/x"),
        headers: vec![
            HeaderMatch { name: "x-a".into(), want: Want::Value(Pattern::Exact(b"2".as_slice().into())) },
            HeaderMatch { name: "x-b".into(), want: Want::Absent },
            HeaderMatch { name: "x-c".into(), want: Want::Not(Pattern::Exact(b"no".as_slice().into())) },
        ],
        query: vec![QueryMatch { name: "q".into(), value: Some(Pattern::Exact(b"1".as_slice().into())) }],
        ..Match::default()
    };
    let twice = Pairs(&[("x-a", "1"), ("x-a", "2")]);
    assert!(
        when.holds(&facts("h", "/xyz?p&q=1&q=2", &twice)),
        "one of several fields will do; the first parameter counts"
    );
    assert!(!when.holds(&facts("h", "/xyz?q=2&q=1", &twice)));
    assert!(!when.holds(&facts("h", "/y?q=1", &twice)));
    assert!(!when.holds(&facts("h", "/x?q=1", &Pairs(&[("x-a", "1")]))));
    assert!(!when.holds(&facts("h", "/x?q=1", &Pairs(&[("x-a", "2"), ("x-b", "")]))));
    assert!(!when.holds(&facts("h", "/x?q=1", &Pairs(&[("x-a", "2"), ("x-c", "yes"), ("x-c", "no")]))));
    let every = HeaderMatch { name: "x-a".into(), want: Want::Every(Pattern::Exact(b"2".as_slice().into())) };
    assert!(every.holds(&Pairs(&[("x-a", "2"), ("x-a", "2")])));
    for not in [&[("x-a", "2"), ("x-a", "1")][..], &[("x-a", "1"), ("x-a", "2")], &[]] {
        assert!(!every.holds(&Pairs(not)));
    }
}

/// Istio lets them be matched under `headers`.
#[test]
fn pseudo_headers_are_those_of_the_request() {
    let holds = |name: &str, want: Want| {
        let when = Match { headers: vec![HeaderMatch { name: name.into(), want }], ..Match::default() };
        when.holds(&facts("app.test", "/x?q=1", &NoHeaders))
    };
    let is = |text: &str| Want::Value(Pattern::Exact(text.as_bytes().into()));
    let rows = [(":authority", "app.test"), (":method", "GET"), (":scheme", "http"), (":path", "/x?q=1")];
    for (name, value) in rows {
        assert!(holds(name, is(value)), "{name}");
        assert!(!holds(name, is("other")), "{name}");
        assert!(holds(name, Want::Present) && !holds(name, Want::Absent), "{name}");
    }
    assert!(!holds(":status", Want::Present));
}

#[test]
fn rewrites_replace_what_matched() {
    let rows = [
        (prefix("/api"), "/v2", "/api/x", "/v2/x"),
        (prefix("/api"), "/v2", "/apix", "/v2x"),
        (prefix("/cut/"), "/", "/cut/x/y", "/x/y"),
        (Some(Pattern::Exact(b"/one".as_slice().into())), "/two", "/one", "/two"),
        (None, "/v2/", "/x", "/v2/x"),
    ];
    for (path, to, from, expected) in rows {
        let mut out = Vec::new();
        let when = Match { path, ..Match::default() };
        rewritten(&Rewrite::Prefix(to.into()), &when, from.as_bytes(), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn redirects_keep_what_they_do_not_set() {
    let plain = Redirect { status: 301, scheme: None, authority: None, path: None, port: None };
    let rows = [
        (Redirect { path: Some("/new".into()), ..plain.clone() }, "app.test", "/a?q=1", "http://app.test/new?q=1"),
        (Redirect { authority: Some("n.test".into()), ..plain.clone() }, "app.test", "/a?q=1", "http://n.test/a?q=1"),
        (Redirect { scheme: Some("https".into()), ..plain.clone() }, "app.test:80", "/s", "https://app.test/s"),
        (
            Redirect { scheme: Some("https".into()), port: Some(8443), ..plain.clone() },
            "app.test:80",
            "/port",
            "https://app.test:8443/port",
        ),
    ];
    for (redirect, authority, target, expected) in rows {
        let mut out = Vec::new();
        location(&redirect, &facts(authority, target, &NoHeaders), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}

#[test]
fn destinations_are_chosen_by_weight() {
    let destination = |weight| Destination {
        rates: Vec::new(),
        target: Target::Unknown("x".into()),
        weight,
        headers: HeaderEdits::default(),
        authority: None,
        timeout: timeout::Rules::default(),
        retry: None,
        origins: Origins::default(),
    };
    let forward = Forward {
        destinations: vec![destination(80), destination(20)],
        total_weight: 100,
        rewrite: None,
        authority: None,
        mirrors: Vec::new(),
        fault: None,
    };
    let mut rng = Rng::new(1);
    let heavy = (0..10_000).filter(|_| forward.choose(&mut rng).weight == 80).count();
    assert!((7_800..8_200).contains(&heavy), "{heavy}");
}
