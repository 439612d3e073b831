#!/usr/bin/env python3
"""Runs the scenarios that are expected to be the same (all but those in later.txt) and fails if one is not.

  python3 conformance/check.py --weir target/release/weir              # against what Envoy did when it was recorded
  python3 conformance/check.py --weir target/release/weir --live      # against a live Envoy (ENVOY_BIN)
  python3 conformance/check.py --weir target/release/weir --without-compatibility

The last runs weir with its own defaults: exactly the scenarios in without-compatibility.txt must differ, each because of
a row of docs/src/compatibility.md; and every row is in that file, by a scenario or by the test that shows it.
"""
import argparse
import asyncio
import json
import pathlib
import sys

import run

HERE = pathlib.Path(__file__).parent
# The given scenarios, and those we added.
FOLDERS = [HERE / "scenarios", HERE / "scenarios-own"]


def later():
    lines = (HERE / "later.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if line and not line.startswith("#"))


def differences():
    """Scenario to row of docs/src/compatibility.md; and the rows."""
    page = (HERE.parent / "docs" / "src" / "compatibility.md").read_text()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")][2:]
    lines = [line.split(": ", 1) for line in (HERE / "without-compatibility.txt").read_text().splitlines() if line and line[0] != "#"]
    named = {row for _, row in lines}
    if named != set(rows):
        raise SystemExit(f"without-compatibility.txt and docs/src/compatibility.md have other rows: {sorted(named ^ set(rows))}")
    return {name: row for name, row in lines if not name.endswith(".rs")}


OWN_DEFAULTS = "run --workers {workers} -f {dir} --outbound 127.0.0.1:{port} --admin 127.0.0.1:{admin}"


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default="target/release/weir")
    parser.add_argument("--times", type=int, default=1, help="so many rounds, all of which must be the same")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--without-compatibility", action="store_true")
    parser.add_argument("--workers", type=int, default=1, help="of weir")
    options = parser.parse_args()
    run.Proxy.workers = options.workers
    options.recorded, options.oracle_only, options.repeat = not options.live, False, 1
    scenarios, every, recorded = {}, {}, {}
    for folder in FOLDERS:
        scenarios |= run.load(folder, options.only)
        every |= run.load(folder, "")
        recorded |= json.loads((folder / "observed.json").read_text())
    postponed = later()
    unknown = set(postponed) - set(every)
    if unknown:
        raise SystemExit(f"later.txt names scenarios that do not exist: {sorted(unknown)}")
    expected = {name: scenario for name, scenario in scenarios.items() if name not in postponed}
    different = differences()
    if not options.without_compatibility:
        different = {}
    else:
        options.weir = f"{options.weir} {OWN_DEFAULTS}"
    slots, failed, total = asyncio.Semaphore(options.jobs), [], 0

    async def one(name):
        """What is wrong with a scenario, as lines; None when it went as expected."""
        async with slots:
            _, verdict, details, _ = await run.judge(name, expected[name], options, recorded)
        wanted = "different" if name in different else "same"
        if verdict == wanted and (wanted == "same" or not details[0].startswith("weir failed")):
            return None
        return [f"{verdict:13} {name}", f"expected to differ: {different[name]}" if wanted == "different" else "", *details]

    for turn in range(options.times):
        tasks = {name: asyncio.create_task(one(name)) for name in expected}
        total += len(tasks)
        wrong = {name: lines for name, task in tasks.items() if (lines := await task)}
        if options.jobs > 1:
            # Most scenarios measure time: what went wrong while others ran beside it is asked once more, alone.
            for name in wrong:
                print(f"again, alone: {name}", flush=True)
            wrong = {name: lines for name in wrong if (lines := await one(name))}
        failed += wrong
        for lines in wrong.values():
            print(*filter(None, lines), sep="\n      ", flush=True)
    print(f"{total - len(failed)} passed, {len(failed)} failed ({len(expected)} scenarios, {len(postponed)} for later)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
