"""A foreign page on another port of this machine, which tries every way of a browser to change something."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from playwright.sync_api import Page

ADD = """mutation Add($key: String!) { addDynamicPartition(partitionKey: $key, partitionsDefName: "clips",
repositorySelector: {repositoryLocationName: "dailies", repositoryName: "__repository__"}) { __typename } }"""

LAUNCH = """mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) { __typename }
}"""
BUY = {
    "selector": {
        "repositoryLocationName": "dailies",
        "repositoryName": "__repository__",
        "pipelineName": "submit_clips",
    },
    "mode": "default",
    "runConfigData": {"ops": {"produce": {"config": {"regenerate": True}}}},
    "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "city-tram"}]},
}

SCRIPT = """
async ([target, mutation]) => {
  const at = target + '/graphql';
  const body = key => JSON.stringify({query: mutation, variables: {key}});
  const inAddress = key => at + '?' + new URLSearchParams({query: mutation, variables: JSON.stringify({key})});
  const frame = name => {
    const made = document.createElement('iframe');
    made.name = name;
    document.body.append(made);
    return made;
  };
  const form = (name, attributes, fields) => {
    frame(name);
    const made = Object.assign(document.createElement('form'), {target: name, ...attributes});
    for (const [key, value] of fields) {
      made.append(Object.assign(document.createElement('input'), {type: 'hidden', name: key, value}));
    }
    document.body.append(made);
    made.submit();
  };
  const post = (key, type, more) => fetch(at, {
    method: 'POST', headers: type ? {'Content-Type': type} : {}, body: body(key), ...more,
  });
  const socket = key => new Promise(done => {
    const made = new WebSocket(at.replace('http', 'ws'), 'graphql-ws');
    made.onopen = () => {
      made.send(JSON.stringify({type: 'connection_init'}));
      made.send(JSON.stringify({type: 'start', id: '1', payload: {query: mutation, variables: {key}}}));
      setTimeout(() => done('opened'), 1000);
    };
    made.onerror = () => done('refused');
  });
  const ways = {
    'way-get': key => fetch(inAddress(key), {mode: 'no-cors'}),
    'way-get-with-credentials': key => fetch(inAddress(key), {mode: 'no-cors', credentials: 'include'}),
    'way-get-cors': key => fetch(inAddress(key)),
    'way-image': key => { new Image().src = inAddress(key); },
    'way-script': key => document.body.append(Object.assign(document.createElement('script'), {src: inAddress(key)})),
    'way-get-frame': key => { frame(key).src = inAddress(key); },
    'way-get-form': key => form(key, {action: at, method: 'GET'},
                                [['query', mutation], ['variables', JSON.stringify({key})]]),
    'way-window': key => { window.open(inAddress(key)); },
    'way-post-address': key => fetch(inAddress(key), {method: 'POST', mode: 'no-cors'}),
    'way-post-address-form': key => form(key, {action: inAddress(key), method: 'POST'}, []),
    'way-post-text': key => post(key, 'text/plain', {mode: 'no-cors'}),
    'way-post-text-json': key => post(key, 'text/plain; application/json', {mode: 'no-cors'}),
    'way-post-json-no-cors': key => post(key, 'application/json', {mode: 'no-cors'}),
    'way-post-json': key => post(key, 'application/json', {}),
    'way-post-graphql': key => post(key, 'application/graphql', {mode: 'no-cors'}),
    'way-post-text-form': key => form(key, {action: at, method: 'POST', enctype: 'text/plain'},
                                      [[body(key).slice(0, -1) + ',"x":"', '"}']]),
    'way-post-form': key => form(key, {action: at, method: 'POST'},
                                 [['query', mutation], ['variables', JSON.stringify({key})]]),
    'way-post-multipart': key => form(key, {action: at, method: 'POST', enctype: 'multipart/form-data'},
                                      [['query', mutation], ['variables', JSON.stringify({key})]]),
    'way-beacon': key => { navigator.sendBeacon(at, new Blob([body(key)], {type: 'text/plain; application/json'})); },
    'way-websocket': socket,
  };
  const said = {};
  for (const [key, way] of Object.entries(ways)) {
    try { said[key] = String(await way(key)); } catch (error) { said[key] = 'failed'; }
  }
  // what went out without a promise is on its way
  await new Promise(done => setTimeout(done, 2000));
  return said;
}
"""


class _Blank(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page elsewhere</title><body></body>")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def page_elsewhere() -> Iterator[int]:
    """Serve the page; yields its port on 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Blank)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def try_everything(page: Page, target: str, mutation: str = ADD) -> dict[str, str]:
    """Make an open page try every way; each successful one adds a partition with its own name."""
    return dict(page.evaluate(SCRIPT, [target, mutation]))


def ask_from(page: Page, document: str, variables: dict[str, Any]) -> Any:
    """Send the request of a button on Dagster's own page."""
    script = """async body => {
      const answer = await fetch('/graphql?op=FromThePage', {
        method: 'POST', headers: {'Content-Type': 'application/json'}, body,
      });
      return answer.json();
    }"""
    return page.evaluate(script, json.dumps({"query": document, "variables": variables}))
