"""A hub of models on this machine, for tests that download."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.parse

import pytest


class Hub:
    """What the Hugging Face hub answers to `snapshot_download`, for repositories that a test puts into it.

    Attributes:
        commits: (repository, commit) -> {name of a file: bytes}.
        revisions: (repository, branch or tag) -> commit.
        token: what a request must bring to see anything, or None.
        requests: list of "METHOD path" of all requests.
    """

    def __init__(self):
        self.commits, self.revisions, self.token, self.requests = {}, {}, None, []

    def add(self, repository, files, revision="main"):
        """Makes a commit, which the revision then names, and returns its hash."""
        commit = hashlib.sha1(repr((repository, revision, sorted(files.items()))).encode()).hexdigest()
        self.commits[repository, commit] = files
        self.revisions[repository, revision] = commit
        return commit

    def answer(self, path, token):
        """(status, headers, body) of a GET."""
        api, *parts = path.strip("/").split("/")
        if api == "api":  # api/models/owner/name/{revision,tree}/REVISION
            repository, what, revision = "/".join(parts[1:3]), *parts[3:5]
        else:  # owner/name/resolve/REVISION/file
            repository, what, revision = f"{api}/{parts[0]}", parts[1], parts[2]
        if self.token and token != f"Bearer {self.token}":
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b""
        if repository not in {name for name, _ in self.commits}:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.revisions.get((repository, revision), revision)
        files = self.commits.get((repository, commit))
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if what == "revision":
            siblings = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps({"id": repository, "sha": commit, "siblings": siblings}).encode()
        if what == "tree":
            blobs = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            return 200, {}, json.dumps(blobs).encode()
        data = files["/".join(parts[3:])]
        return 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}, data


@pytest.fixture
def hub():
    """A `Hub` that listens at `hub.url`."""
    hub = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = urllib.parse.unquote(self.path.partition("?")[0])
            hub.requests.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def download(hub, tmp_path):
    """The function (source, **environment) -> directory or message of the ValueError.

    It runs in a process of its own, because huggingface_hub reads its environment when it is imported. Skips if it is
    not installed.
    """
    pytest.importorskip("huggingface_hub")

    def run(source, **environment):
        program = (
            "import sys\n"
            "from albert_gpt_tf.checkpoints.sources import local_directory\n"
            "try:\n"
            "    print(local_directory(sys.argv[1]))\n"
            "except ValueError as error:\n"
            "    print('ValueError:', error)\n"
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        set_here = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        set_here |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        ran = subprocess.run(
            [sys.executable, "-c", program, source],
            env={**kept, **set_here, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip().splitlines()[-1]

    return run
