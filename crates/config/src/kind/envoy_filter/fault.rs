//! Envoy's HTTPFault: the fault filter's own configuration, with faults that headers choose.

use super::message::Message;
use crate::problem::{Code, Problem};
use std::time::Duration;
use weir_policy::fault::{Abort, AbortStatus, Delay, Length, Rules, Status};
use weir_policy::route::{HeaderMatch, Pattern, Want};
use weir_policy::share::Share;

/// Reads an HTTPFault, without its `@type`.
pub fn http_fault(message: &Message<'_>) -> Rules {
    let delay = message.message("delay").and_then(|delay| {
        let length = delay.length("fixed_delay", Duration::from_nanos(1)).map(Length::Fixed);
        let header = delay.message("header_delay").map(|header| {
            header.end();
            Length::Header
        });
        let share = delay.fraction("percentage").unwrap_or(Share::NONE);
        delay.end();
        one_of(&delay, length.or(header).map(|length| Delay { length, share }), "fixed_delay` or `header_delay")
    });
    let abort = message.message("abort").and_then(|abort| {
        let http = abort.object.number("http_status", 200, 599).map(|status| Status::Http(status.value as u16));
        let grpc = abort.object.number("grpc_status", 0, 16).map(|status| Status::Grpc(status.value as u8));
        let fixed = http.or(grpc).map(AbortStatus::Fixed);
        let header = abort.message("header_abort").map(|header| {
            header.end();
            AbortStatus::Header
        });
        let share = abort.fraction("percentage").unwrap_or(Share::NONE);
        abort.end();
        let words = "http_status`, `grpc_status` or `header_abort";
        one_of(&abort, fixed.or(header).map(|status| Abort { status, share }), words)
    });
    let headers = message.messages("headers").iter().filter_map(header_match).collect();
    // It names statistics that weir has not.
    message.object.truth("disable_downstream_cluster_stats");
    message.end();
    Rules { delay, abort, headers }
}

fn one_of<T>(message: &Message<'_>, found: Option<T>, wanted: &str) -> Option<T> {
    if found.is_none() {
        let words = format!("`{}` needs `{wanted}`", message.path);
        message.object.sink.add(Problem::new(Code::Missing, message.object.place(), words));
    }
    found
}

/// A HeaderMatcher, of the forms that VirtualServices have too.
pub(super) fn header_match(message: &Message<'_>) -> Option<HeaderMatch> {
    let name = message.text("name");
    let inverted = message.object.truth("invert_match").unwrap_or(false);
    let present = message.object.truth("present_match");
    let old = message.text("exact_match").map(|text| Pattern::Exact(text.into_bytes().into()));
    let new = message.message("string_match").and_then(|written| pattern(&written));
    message.end();
    let want = match (old.or(new), present, inverted) {
        (Some(pattern), _, false) => Want::Value(pattern),
        (Some(pattern), _, true) => Want::Not(pattern),
        (None, Some(false), false) | (None, Some(true) | None, true) => Want::Absent,
        (None, ..) => Want::Present,
    };
    Some(HeaderMatch { name: name?.to_ascii_lowercase().into(), want })
}

fn pattern(written: &Message<'_>) -> Option<Pattern> {
    use crate::kind::http_match::StringMatch;
    let exact = written.text("exact").map(StringMatch::Exact);
    let prefix = written.text("prefix").map(StringMatch::Prefix);
    let regex = written.message("safe_regex").and_then(|regex| {
        let text = regex.text("regex");
        regex.end();
        text.map(StringMatch::Regex)
    });
    if written.object.truth("ignore_case").unwrap_or(false) {
        written.object.sink.add(written.refuse("ignore_case", format!("`{}.ignore_case` must be false", written.path)));
    }
    written.end();
    let found = exact.or(prefix).or(regex)?;
    let made = crate::lower::route::pattern(&found);
    if made.is_none() {
        written.object.sink.add(written.refuse("safe_regex", "this is not a regular expression"));
    }
    made
}
