"""A server that answers as the Hugging Face Hub does, for its client library.

There is no network in tests, so that the real Hub is never asked: this shows that our
calls, the revisions and the hashes are right, not that the Hub still answers so.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator

REVISION = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/(revision|tree)/([\w.-]+)")
FILE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)")


class Hub:
    """Repositories as lists of commits, each a dict of files.

    Attributes:
        repos: The commits of each repository, the newest last.
        url: Where it is.
        asked: The requests, as `METHOD PATH`.
    """

    def __init__(self):
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.url = ""
        self.asked: list[str] = []

    def push(self, repo: str, files: dict[str, bytes]) -> str:
        """Adds a commit, and returns its revision."""
        self.repos.setdefault(repo, []).append(files)
        return revision(files)

    def find(self, repo: str, name: str) -> dict[str, bytes] | None:
        """Returns the files of a branch or a commit."""
        commits = self.repos.get(repo, [])
        if name == "main" and commits:
            return commits[-1]
        return next((x for x in commits if revision(x) == name), None)


def revision(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_POST(self):
        self.hub.asked.append(f"POST {self.path}")
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            repo = json.loads(sent)
            name = "/".join(x for x in (repo.get("organization"), repo["name"]) if x)
            self.hub.repos.setdefault(name, [])
            return self._json({"url": f"{self.hub.url}/{name}"})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(sent)["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            modes = [{"path": x["path"], **how} for x in files]
            return self._json({"files": modes})
        if "/commit/" in self.path:
            repo = "/".join(self.path.split("/")[3:5])
            lines = [json.loads(line) for line in sent.splitlines() if line]
            added = [x["value"] for x in lines if x["key"] == "file"]
            files = {x["path"]: base64.b64decode(x["content"]) for x in added}
            oid = self.hub.push(repo, files)
            url = f"{self.hub.url}/{repo}/commit/{oid}"
            return self._json(
                {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}
            )
        return self._missing("EntryNotFound")

    def _answer(self, with_body: bool):
        self.hub.asked.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if found := FILE.fullmatch(path):
            files = self.hub.find(found[1], found[2])
            if files is None or found[3] not in files:
                return self._missing("EntryNotFound")
            content = files[found[3]]
            headers = {
                "X-Repo-Commit": revision(files),
                "ETag": f'"{hashlib.sha1(content).hexdigest()}"',
            }
            return self._send(content if with_body else b"", len(content), headers)
        if found := REVISION.fullmatch(path):
            if found[1] not in self.hub.repos:
                return self._missing("RepoNotFound")
            files = self.hub.find(found[1], found[3])
            if files is None:
                return self._missing("RevisionNotFound")
            listed = [
                {"rfilename": name, "path": name, "type": "file", "size": len(content)}
                | {"oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            if found[2] == "tree":
                return self._json(listed)
            told = {"id": found[1], "modelId": found[1], "sha": revision(files)}
            return self._json({**told, "siblings": listed, "tags": []})
        return self._missing("RepoNotFound")

    def _json(self, value):
        content = json.dumps(value).encode()
        self._send(content, len(content), {"Content-Type": "application/json"})

    def _missing(self, code: str):
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, length: int, headers: dict[str, str]):
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)
