"""Names of folders that a file system takes and that programs stumble over."""

ODD = [
    "layers=[16,16]",
    "[!a]*?",
    "back\\slash",
    "new\nline",
    " 100% {x} $y_z^2$ ",
    "-ü",
    "--flag",
    "scheme:",
    "~",
    "#1&2;'\"",
]
