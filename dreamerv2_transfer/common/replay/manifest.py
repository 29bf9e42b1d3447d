"""What a task folder's `manifest.json` may hold.

All keys may be missing, as versions before this one wrote fewer, and others are kept.
"""

from __future__ import annotations

from typing import Any

from dreamerv2_transfer.common.files.documents import Schema

COUNT = {"type": "integer", "minimum": 0, "maximum": 2**53}
TEXT = {"type": "string"}
NUMBERS = "bool|u?int(8|16|32|64)|float(16|32|64)"  # Types of arrays.

SPACE: dict[str, Any] = {
    "type": "object",
    "required": ["shape", "dtype"],
    "properties": {
        "shape": {
            "type": "array",
            "maxItems": 8,
            "items": {"type": "integer", "minimum": 0, "maximum": 2**31},
        },
        "dtype": {"type": "string", "pattern": f"^({NUMBERS})$"},
        "n": {"type": "integer", "minimum": 1, "maximum": 2**31},
        # The number of the first discrete action, if it is not 0.
        "start": {"type": "integer", "minimum": -(2**31), "maximum": 2**31},
        # Of joined actions: how many choices, and of how many classes (0: numbers).
        "parts": {
            "type": "array",
            "minItems": 1,
            "maxItems": 2**16,
            "items": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {"type": "integer", "minimum": 0, "maximum": 2**24},
            },
        },
    },
}
POLICY = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "share": {"type": "number"},
        "steps": COUNT,
        "episodes": COUNT,
        "file": TEXT,
        "source": TEXT,
        "seed": COUNT,
    },
}
# What `data.collection.Recipe` writes; a policy is its name, its share and a digest.
RECIPE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "seed": COUNT,
        "envs": {"type": "integer", "minimum": 1, "maximum": 2**16},
        "settings": {"type": "object"},
        "policies": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "array",
                "items": [TEXT, {"type": "number"}, TEXT],
                "minItems": 3,
                "maxItems": 3,
            },
        },
        "interval": {"type": "integer", "minimum": 1, "maximum": 2**53},
        "epsilon": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
MANIFEST: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task": TEXT,
        "spaces": {
            "type": "object",
            "additionalProperties": SPACE,
            # Empty if no episode could be read when it was written.
            "if": {"minProperties": 1},
            "then": {"required": ["action", "reward"]},
        },
        "settings": {"type": "object"},
        "recipe": RECIPE,
        "policies": {
            "oneOf": [
                {"type": "array", "items": {**POLICY, "required": ["name"]}},
                {"type": "object", "additionalProperties": POLICY},
            ]
        },
        "episodes": COUNT,
        "steps": COUNT,
        "versions": {"type": "object", "additionalProperties": TEXT},
    },
}
SCHEMA = Schema(MANIFEST)
