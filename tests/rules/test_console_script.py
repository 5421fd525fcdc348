"""
What the console's script says of a page's age, run with Node, without a browser.

Node is no part of the project: where it is not here, the tests are skipped.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "streams" / "console" / "static" / "console.js"
#: As much of a browser as the script asks for; `told` is what happens to it.
BROWSER = """
const heard = {}, listening = (name, what) => (heard[name] ??= []).push(what);
const happens = (name, event) => (heard[name] || []).forEach((what) => what(event));
const classes = new Set();
const age = {
  dataset: {
    asOf: String(Date.now()), now: String(Date.now()), amber: "30", ago: "#", lost: "!", stale: "?",
  },
  classList: { toggle: (name, is) => is ? classes.add(name) : classes.delete(name) },
  querySelector: (name) => name === "time" ? null : { textContent: "" },
};
const part = { dataset: { live: "/changes", part: "/part" } };
globalThis.document = {
  hidden: false, addEventListener: listening, querySelectorAll: () => [],
  querySelector: (name) => name === "[data-live]" ? part : age,
  body: { dataset: { zone: "UTC" }, addEventListener: listening },
};
globalThis.window = { addEventListener: listening };
globalThis.EventSource = class {
  addEventListener(name, what) { listening("news:" + name, what); }
};
globalThis.setInterval = () => 0;
globalThis.htmx = { ajax: () => Promise.resolve() };
require(process.argv[1]);
happens("DOMContentLoaded");
for (const [name, event] of JSON.parse(process.argv[2])) { happens(name, event); }
process.stdout.write(JSON.stringify([...classes]));
"""
FAILED = ["htmx:responseError", {"detail": {"xhr": {"status": 503}}}]
#: htmx says this after every answer, also after one that is an error.
LOADED = ["htmx:afterOnLoad", {}]
BROUGHT = ["htmx:afterSwap", {}]
CUT = ["news:error", {}]
AGE = ["news:age", {"data": "9999999999999 9999999999999"}]


@pytest.mark.parametrize(
    ("told", "colours"),
    [
        ([], []),
        ([AGE], []),
        # the part does not come, while the news goes on to say how fresh the ledger is
        ([FAILED, LOADED], ["red"]),
        ([FAILED, LOADED, AGE], ["red"]),
        ([["htmx:sendError", {}], AGE], ["red"]),
        ([FAILED, LOADED, BROUGHT, LOADED], []),
        # the news does not come
        ([CUT], ["red"]),
        ([CUT, ["news:open", {}]], []),
        # and the page asks by itself
        ([CUT, BROUGHT, LOADED], []),
    ],
)
def test_a_page_whose_part_or_news_does_not_come_is_red(
    told: list[list[object]], colours: list[str]
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not here")
    done = subprocess.run(
        [node, "-e", BROWSER, str(SCRIPT), json.dumps(told)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == colours
