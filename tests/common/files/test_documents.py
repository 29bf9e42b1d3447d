import errno
import os
import time

import pytest

from dreamerv2_transfer.common.files import documents
from dreamerv2_transfer.common.files.documents import Schema, SchemaError


def laughs(levels: int, leaf: str, entry: str) -> str:
    """Returns lines, each of which has nine of the line before it."""
    lines = [f"k0: &a0 {leaf}"]
    for level in range(1, levels):
        alias = f"*a{level - 1}"
        inner = ", ".join(entry.format(number=i, alias=alias) for i in range(9))
        lines.append(f"k{level}: &a{level} {inner.join(leaf[0] + leaf[-1])}")
    return "\n".join(lines)


HOSTILE = {
    "lists": (laughs(9, "[x, x]", "{alias}"), "more than 20,000 values"),
    "mappings": (laughs(9, "{x: 1}", "k{number}: {alias}"), "more than 20,000 values"),
    "merged": (
        "k0: &a0 {x: 1}\n"
        + "".join(
            f"k{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], y{i}: 1}}\n"
            for i in range(1, 9)
        ),
        "more than 20,000 values",
    ),
    "deep": ("[" * 200_000, "nests deeper than 24 levels"),
    "deep groups": (
        "\n".join(f"{' ' * i}a:" for i in range(500)),
        "nests deeper than 24 levels, line 24",
    ),
    "list in itself": ("a: &a [1, *a]", "contains itself"),
    "mapping in itself": ("a: &a {b: *a}", "contains itself"),
    "object": ("a: !!python/object/apply:os.system [x]", "constructor for the tag"),
    "bool": ("a: !!bool x", "KeyError: 'x'"),
    "number": ("a: !!int x", "invalid literal"),
    "digits": (f"a: {'9' * 5000}", "4300 digits"),
    "key twice": ("a: 1\na: 2", 'duplicate key "a"'),
    "two documents": ("a: 1\n---\nb: 2", "another document, line 2"),
    "byte": ("a: \0", "special characters are not allowed"),
    "alias": ("a: *b", "undefined alias 'b', line 1"),
    "half": ("a: [1,", "expected the node content"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_quickly_and_on_one_line(name):
    text, reason = HOSTILE[name]
    begin = time.process_time()
    with pytest.raises(ValueError) as caught:
        documents.parse_yaml(text)
    assert reason in str(caught.value) and "\n" not in str(caught.value)
    assert time.process_time() - begin < 5


def test_anchors_and_merges_of_an_honest_file_are_read():
    text = "base: &b {x: [1, 2]}\nother: {<<: *b, y: *b}\nlist: [*b, *b]"
    base = {"x": [1, 2]}
    assert documents.parse_yaml(text) == {
        "base": base,
        "other": {"x": [1, 2], "y": base},
        "list": [base, base],
    }
    assert documents.parse_yaml("a: " + "[" * 22 + "]" * 22)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "too deep"),
        ('{"a":' * 100_000, "too deep"),
        ('{"a": 1, "b": {"c": 2, "c": 3}}', "has the key 'c' twice"),
        ("{", "Expecting property name"),
        ("9" * 5000, "4300 digits"),
        (b"\xff\xfe", "codec can't decode"),
        (b'"\xed\xa0\x80"', "codec can't decode"),
        (r'{"a": ["\ud800"]}', "surrogates not allowed"),
        ("[1e999]", "1e999 is not a finite number"),
        ("[-Infinity]", "-Infinity is not a finite number"),
    ],
)
def test_hostile_json_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        documents.parse_json(text)


def test_numbers_without_a_limit_are_read_where_that_is_asked_for():
    text = b'{"a": NaN, "b": 1e999, "a": 2, "c": "\\ud83d\\ude00"}'
    found = documents.parse_json(text, unique=False, finite=False)
    assert found == {"a": 2, "b": float("inf"), "c": "\N{GRINNING FACE}"}


def test_a_schema_names_the_key_that_is_wrong():
    number = {"type": "number", "maximum": 5}
    schema = Schema({"type": "object", "additionalProperties": {"items": number}})
    assert schema.parse('{"a": [1, 2.5]}') == {"a": [1, 2.5]}
    for text, reason in [
        ('{"a": [1, true]}', r"^a\[1\] must be number"),
        ('{"a": [6]}', r"^a\[0\] must be smaller than or equal to 5"),
        ("3", "^must be object"),
    ]:
        with pytest.raises(SchemaError, match=reason):
            schema.parse(text)


def test_a_file_that_is_too_large_or_none_is_not_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert documents.read(path, 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes") as caught:
        documents.read(path, 4)
    assert caught.value.errno == errno.EFBIG
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(OSError, match="not a file"):
            documents.read(tmp_path / place, 5)
    with pytest.raises(FileNotFoundError):
        documents.read(tmp_path / "none", 5)


def test_what_a_reader_changes_is_not_what_the_next_one_gets():
    documents.parse_yaml("a: [1, {b: 2}]")["a"][1]["b"] = 3
    assert documents.parse_yaml("a: [1, {b: 2}]") == {"a": [1, {"b": 2}]}
