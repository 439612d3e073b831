#!/usr/bin/env python3
"""Writes the README's table of figures from the newest bench/results/*.json; --check only says whether it is up to date.

Ratios are medians of the ratios within a round, against HAProxy. Without results the README says that there are none.
"""
import json
import pathlib
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
OPEN, CLOSE = "<!-- bench -->\n", "<!-- /bench -->"
BASE = "haproxy"
WHAT = {
    "h1-sat": "HTTP/1.1, 64 connections",
    "h1-hdrs": "the same with 13 headers, 900 bytes",
    "h1-rate": "HTTP/1.1, a fixed rate",
    "h1-lat": "HTTP/1.1, one connection",
    "h2-sat": "HTTP/2 to HTTP/1.1",
    "tls-sat": "TLS 1.3, 64 connections",
    "conn": "a connection a request",
    "tls-conn": "a TLS handshake a request",
}


def rounds(rows, scenario, proxy):
    return {row["round"]: row for row in rows if row["scenario"] == scenario and row["proxy"] == proxy}


def newest():
    """The results with the latest date in their names (NAME-YYYY-MM-DD…), or else by name."""
    files = sorted(RESULTS.glob("*.json"), key=lambda path: (path.stem[-10:], path.name))
    for path in reversed(files):
        rows = json.loads(path.read_text())
        if isinstance(rows, list) and any(row.get("proxy") == BASE for row in rows):
            return path, rows
    return None, []


def cell(rows, scenario, proxy):
    mine, base = rounds(rows, scenario, proxy), rounds(rows, scenario, BASE)
    both = sorted(set(mine) & set(base))
    if not both:
        return "–"
    ratio = statistics.median(mine[turn]["cpu"] / base[turn]["cpu"] for turn in both)
    cpu = statistics.median(row["cpu"] for row in mine.values())
    return f"{cpu:.1f} µs ({ratio:.2f})"


def table():
    path, rows = newest()
    if not path:
        return "No results are committed yet.\n"
    proxies = list(dict.fromkeys(row["proxy"] for row in rows))
    scenarios = [name for name in WHAT if any(row["scenario"] == name for row in rows)]
    turns = len({row["round"] for row in rows})
    lines = [
        "CPU of the proxy per request, and its ratio to HAProxy in the same rounds "
        f"(medians of {turns} rounds; raw figures in [{path.name}](bench/results/{path.name})):",
        "",
        "| | " + " | ".join(proxies) + " |",
        "| --- |" + " --- |" * len(proxies),
    ]
    for scenario in scenarios:
        cells = [cell(rows, scenario, proxy) for proxy in proxies]
        lines.append(f"| {WHAT[scenario]} (`{scenario}`) | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    readme = ROOT / "README.md"
    text = readme.read_text()
    start = text.index(OPEN) + len(OPEN)
    end = text.index(CLOSE, start)
    renewed = text[:start] + table() + text[end:]
    if renewed == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("the figures in README.md are not those of the newest results: run scripts/bench_table.py", file=sys.stderr)
        return 1
    readme.write_text(renewed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
