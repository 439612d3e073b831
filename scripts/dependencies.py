#!/usr/bin/env python3
"""Checks what we depend on, in seconds: deny.toml's licences, bans and sources, and dependencies that no file names.

`cargo deny check bans licenses sources` and `cargo shear` find more, and take minutes to build; this reads the same
deny.toml. Development dependencies count as used when a test, a bench or the library names them.
"""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def permitted(expression, allowed):
    """Evaluates an SPDX expression; `/` is the old way to write OR."""
    words = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    parts, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("OR", "AND"):
            parts.append(word.lower())
        elif word == "WITH":  # an exception only permits more
            skip = True
        else:
            parts.append(word if word in "()" else str(word in allowed))
    return eval(" ".join(parts))  # only True, False, and, or, parentheses are left


def library_names(packages):
    """What each package is called in code: its library may have another name than it has."""
    kinds = {"lib", "proc-macro", "rlib"}
    return {
        package["name"]: target["name"].replace("-", "_")
        for package in packages for target in package["targets"] if kinds & set(target["kind"])
    }


def unused(package, called):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for name in ("src", "tests", "benches", "examples") for path in (folder / name).rglob("*.rs")]
    code = "\n".join(path.read_text() for path in files)
    features = json.dumps(package["features"])
    for dependency in package["dependencies"]:
        name = dependency["rename"] or dependency["name"]
        word = called.get(name, name.replace("-", "_"))
        if not re.search(rf"\b{word}\b", code) and f"dep:{name}" not in features:
            yield f"{package['name']} does not use {name}: remove it from its Cargo.toml"


def built(metadata):
    """The packages that are compiled; `cargo metadata` also has those of features that nobody turns on (`ring?/std`)."""
    command = ["cargo", "tree", "--workspace", "--target", "all", "--prefix", "none", "--format", "{p}", "--locked"]
    tree = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    return [package for package in metadata["packages"] if (package["name"], f"v{package['version']}") in names]


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    allowed, banned = set(rules["licenses"]["allow"]), {ban["crate"]: ban["reason"] for ban in rules["bans"]["deny"]}
    members, problems = set(metadata["workspace_members"]), []
    packages = built(metadata)
    called = library_names(metadata["packages"])
    for package in packages:
        if package["id"] in members:
            problems += unused(package, called)
            continue
        name = f"{package['name']} {package['version']}"
        if package["name"] in banned:
            problems.append(f"{name} is banned: {banned[package['name']]}")
        if not permitted(package["license"] or "none", allowed):
            problems.append(f"{name} has the licence {package['license']}, which deny.toml does not allow")
        if package["source"] != REGISTRY:
            problems.append(f"{name} comes from {package['source']}")
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(packages)} packages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
