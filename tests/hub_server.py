"""A server that speaks what huggingface_hub needs to upload files and to fetch them."""

import base64
import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = hashlib.sha1(b'x').hexdigest()


def repository_of(path):
    """What follows '/api/models/'; of a dataset, 'datasets/ORG/REPO/...', which is its folder."""
    return path.removeprefix('/api/').removeprefix('models/')


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self, content=b'', status=200, **headers):
        if isinstance(content, dict):
            content = json.dumps(content).encode()
            headers['Content-Type'] = 'application/json'
        self.send_response(status)
        for name, value in {'Content-Length': len(content), **headers}.items():
            self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        path = urlparse(self.path).path
        self.server.asked.append((self.command, path))
        if path == '/api/repos/create':
            return self.answer(
                dict(url=f'{self.server.url}/org/repo', name='org/repo', id='org/repo')
            )
        if path == '/api/validate-yaml':
            return self.answer(dict(errors=[], warnings=[]))
        if '/preupload/' in path:
            files = json.loads(body)['files']
            modes = [dict(path=f['path'], uploadMode='regular', shouldIgnore=False) for f in files]
            return self.answer(dict(files=modes))
        if '/commit/' in path:
            repo = repository_of(path).split('/commit/')[0]
            for line in body.splitlines():
                entry = json.loads(line)
                target = self.server.folder / repo / entry['value'].get('path', '')
                if entry['key'] == 'file':
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(entry['value']['content']))
                elif entry['key'] == 'deletedFile':
                    if not target.is_file():
                        error = "A file with this name doesn't exist"
                        return self.answer(dict(error=error), 404, X_Error_Code='EntryNotFound')
                    target.unlink()
            url = f'{self.server.url}/{repo}/commit/{COMMIT}'
            return self.answer(dict(commitUrl=url, commitOid=COMMIT))
        return self.answer(dict(error=f'unknown {path}'), 404)

    def do_GET(self):
        path = unquote(urlparse(self.path).path)
        self.server.asked.append((self.command, path))
        self.server.tokens.add(self.headers.get('Authorization'))
        if path.startswith(('/api/models/', '/api/datasets/')):
            parts = 3 if path.startswith('/api/datasets/') else 2
            repo = '/'.join(repository_of(path).split('/')[:parts])
            folder = self.server.folder / repo
            if not folder.is_dir():
                return self.answer(dict(error='Repository not found'), 404,
                                   X_Error_Code='RepoNotFound')  # fmt: skip
            names = [dict(rfilename=p.relative_to(folder).as_posix()) for p in folder.rglob('*')]
            if '/tree/' in path:
                return self.answer_tree(folder, path.partition('/tree/')[2].partition('/')[2])
            facts = dict(id=repo, modelId=repo, sha=COMMIT, siblings=names, private=False)
            return self.answer({**facts, 'tags': [], 'downloads': 0, 'likes': 0})
        if '/resolve/' in path:
            repo, _, rest = path.strip('/').partition('/resolve/')
            file = self.server.folder / repo / rest.partition('/')[2]
            if not file.is_file():
                return self.answer(b'', 404, X_Error_Code='EntryNotFound', X_Repo_Commit=COMMIT)
            content = file.read_bytes()
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            wanted = self.headers.get('Range')
            if wanted:
                first, _, last = wanted.removeprefix('bytes=').partition('-')
                content = content[int(first) : int(last) + 1 if last else None]
            status = 206 if wanted else 200
            return self.answer(content, status, ETag=etag, X_Repo_Commit=COMMIT)
        return self.answer(b'', 404)

    def answer_tree(self, folder, inside):
        """List a folder, or all of a repository where that is asked for."""
        if not (folder / inside).is_dir():
            return self.answer(dict(error='no such entry'), 404, X_Error_Code='EntryNotFound')
        everything = 'recursive=true' in self.path.lower()
        found = sorted((folder / inside).rglob('*') if everything else (folder / inside).iterdir())
        tree = [
            dict(
                type='directory' if each.is_dir() else 'file',
                path=each.relative_to(folder).as_posix(),
                size=0 if each.is_dir() else each.stat().st_size,
                oid=COMMIT,
            )
            for each in found
        ]
        return self.answer(json.dumps(tree).encode(), Content_Type='application/json')

    do_HEAD = do_GET  # noqa: N815 (the name that the standard library calls)

    def log_message(self, *_):
        pass


def point_hub(url, monkeypatch):
    """Have huggingface_hub ask a server, as HF_ENDPOINT does for a new process."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'ENDPOINT', url)
    template = url + '/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)


@contextmanager
def hub(folder, monkeypatch, cache):
    """Serve the repositories in a folder, and point huggingface_hub to them."""
    from huggingface_hub import constants

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.folder, server.asked, server.tokens = Path(folder), [], set()
        server.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, daemon=True).start()
        point_hub(server.url, monkeypatch)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(cache))
        yield server
        server.shutdown()
