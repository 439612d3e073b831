"""Writes crates/config/src/schema/istio.txt: the facts of Istio's resources (names, types, bounds), run by hand.

    python3 scripts/schema.py PATH/TO/customresourcedefinitions.yaml > crates/config/src/schema/istio.txt

The format is described in crates/config/src/schema/mod.rs.
"""

import sys
from collections import Counter

import yaml

DURATION = "duration(self)"
PORT = "0 < self && self <= 65535"


def rules(schema):
    return [rule["rule"].strip() for rule in schema.get("x-kubernetes-validations", [])]


def bounds(schema, low, high):
    low, high = schema.get(low), schema.get(high)
    if low is None and high is None:
        return None
    show = lambda value: "" if value is None else str(int(value) if float(value).is_integer() else value)
    return f"{show(low)}..{show(high)}"


def scalar(schema):
    """The word for a scalar and its bounds."""
    if schema.get("x-kubernetes-int-or-string"):
        return ["intOrString"]
    kind = schema.get("type")
    if "enum" in schema:
        return ["word(" + "|".join(str(word) for word in schema["enum"] if word is not None) + ")"]
    if kind == "string":
        if any(DURATION in rule for rule in rules(schema)):
            return ["duration"]
        words = ["string"]
        if schema.get("format") == "byte":
            words = ["bytes"]
        length = bounds(schema, "minLength", "maxLength")
        if length:
            words.append(f"length={length}")
        if "pattern" in schema:
            words.append(f"pattern={schema['pattern']}")
        return words
    if kind in ("integer", "number"):
        words = ["int" if kind == "integer" else "number"]
        if PORT in rules(schema):
            schema = {**schema, "minimum": 1, "maximum": 65535}
        value = bounds(schema, "minimum", "maximum")
        if value:
            words.append(f"range={value}")
        return words
    if kind == "boolean":
        return ["bool"]
    return ["any"]


def exclusive(schema):
    """Sets of fields of which at most one may be given."""
    found = []
    for one in [schema] + schema.get("allOf", []):
        names = [option["required"][0] for option in one.get("oneOf", []) if "required" in option]
        if len(names) > 1:
            found.append(names)
    return found


def tree(schema):
    """(marks, words, children): a list or a map is its mark in front of its item."""
    if schema.get("type") == "array":
        marks, words, children = tree(schema["items"])
        items = bounds(schema, "minItems", "maxItems")
        return ["[]" + (f"({items})" if items else "")] + marks, words, children
    if isinstance(schema.get("additionalProperties"), dict):
        marks, words, children = tree(schema["additionalProperties"])
        entries = bounds(schema, "minProperties", "maxProperties")
        return ["{}" + (f"({entries})" if entries else "")] + marks, words, children
    if schema.get("type") == "object" and "properties" in schema:
        children = []
        for names in exclusive(schema):
            children.append(("!one", [], names, []))
        for name, child in sorted(schema["properties"].items()):
            marks, words, below = tree(child)
            words = list(words)
            if name in schema.get("required", []):
                words.append("required")
            if child.get("nullable") or child.get("items", {}).get("nullable"):
                words.append("nullable")
            children.append((name, marks, words, below))
        open_ = ["open"] if schema.get("x-kubernetes-preserve-unknown-fields") else []
        return [], ["object"] + open_, children
    return [], scalar(schema), []


def freeze(children):
    return tuple((name, tuple(marks), tuple(words), freeze(below)) for name, marks, words, below in children)


def main():
    kinds = []
    for document in yaml.safe_load_all(open(sys.argv[1])):
        if document:
            spec = document["spec"]
            versions = [version["name"] for version in spec["versions"]]
            properties = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
            _, words, children = tree(properties["spec"])
            kinds.append((spec["names"]["kind"], spec["group"], versions, freeze(children)))
    seen, names = Counter(), {}

    def count(children, name):
        if len(children) >= 2 and name:
            seen[children] += 1
            names.setdefault(children, name)
            if seen[children] > 1:
                return
        for child in children:
            count(child[3], child[0])

    for kind in kinds:
        count(kind[3], None)
    shared, used = {}, set()
    for children, times in seen.items():
        if times > 1:
            name, number = names[children], 2
            while name in used:
                name, number = f"{names[children]}{number}", number + 1
            used.add(name)
            shared[children] = name

    def show(children, depth):
        for name, marks, words, below in children:
            if name == "!one":
                print("  " * depth + "!one " + " ".join(words))
                continue
            words = list(words)
            if below in shared:
                words[0] = "@" + shared[below]
                below = ()
            print("  " * depth + name + " " + "".join(marks) + " ".join(words))
            show(below, depth + 1)

    for children, name in shared.items():
        print(f"type {name}")
        show(children, 1)
    for kind, group, versions, children in kinds:
        print(f"kind {kind} {group} {' '.join(versions)}")
        show(children, 1)


main()
