"""Whatever a step gives, says or is called: it is shown, and does nothing to whoever looks."""

from __future__ import annotations

import subprocess
import sys
import time
from ast import literal_eval

import cloudpickle
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel

from nbflow import step
from nbflow.notebook.report import report

pytestmark = [pytest.mark.timeout(280)]

FOLLOWED = """
import pathlib, time
import nbflow
from nbflow import step

@step
def slow():
    while not pathlib.Path(GATE).exists():
        time.sleep(0.02)
    return 1

(slow.s() >> step(str)).run()
"""


@pytest.fixture
def gate(lab):
    path = lab.root / "gate"
    path.unlink(missing_ok=True)
    yield path
    path.touch()


def followed(gate):
    return FOLLOWED.replace("GATE", repr(str(gate)))


def head(page):
    return page.locator("[data-nbflow-run] .head").first


def until_it_says(page, text):
    head(page).get_by_text(text).first.wait_for(timeout=60_000)


STOLEN = "window.top.stolen=1"
HOSTILE = (
    f"</td></pre></title></style><script>{STOLEN}</script><img src=x onerror='{STOLEN}'>"
    f'"><svg onload={STOLEN}><a href="javascript:{STOLEN}">[x](javascript:{STOLEN})</a>'
    "${window.top.stolen=1}]]>--><iframe srcdoc='<script>window.top.stolen=1</script>'></iframe>"
)
# What stands for every object in JavaScript.
INHERITED = ("__proto__", "constructor", "toString")

FLOW = f"""
import logging, sys, warnings
import pandas as pd
import nbflow
from nbflow import param, step

BAD = {HOSTILE!r}

class Bad:
    def __repr__(self):
        return BAD
    def _repr_html_(self):
        return BAD
    def _repr_mimebundle_(self, **_):
        return {{"text/html": BAD, "application/javascript": {STOLEN!r}}}

class Error(Exception):
    pass

Error.__name__ = BAD

def load(n, given=BAD):
    return pd.DataFrame({{BAD: [BAD, Bad(), b"x"] * n, "b": [BAD] * 3 * n}}, index=[BAD] * 3 * n)

def parse(item):
    print(BAD, item)
    if item == 1:
        raise Error(BAD)
    return {{BAD: BAD}}

def say(df):
    print(BAD)
    sys.stderr.write("\\x1b]8;;javascript:" + {STOLEN!r} + "\\x07link\\x1b]8;;\\x07")
    logging.getLogger(BAD).warning(BAD)
    warnings.warn(BAD)
    return Bad()

def fail(x):
    raise Error(BAD, Bad())

for each in (load, parse, say, fail):
    each.__doc__ = BAD

loaded = 4 >> step(load, name=BAD).s(given=BAD)
parse = step(parse, name="parse " + BAD)
parsed = [0, 1] >> parse.map(key=lambda n: f"{{n}} {{BAD}}", on_error="collect")
said = loaded >> step(say, name="say " + BAD)
names = [said >> step(str, name=each) for each in {INHERITED}]
failed = said >> step(fail, name="fail " + BAD)
flow = [parsed, *names, failed] >> step(len)
flow = flow.named(BAD)
"""

SHOWN = (
    "flow",
    "nbflow.last_run() if flow.run(raise_on_error=False) else None",
    "run = nbflow.last_run(); run.panel()",
    "run.timeline()",
    "run.rows()",
    "run.steps",
    "run.diff(flow.run(raise_on_error=False, display=None))",
    "print(run.log('say ' + BAD)); run.preview('say ' + BAD)",
    "run[BAD]",
    "run.table(BAD)",
    "run.dead_letters",
    "%load_ext nbflow",
    "%flow rows",
    "%flow status",
    "from IPython.display import display",
    "display({'text/vnd.mermaid': flow.to_mermaid()}, raw=True)",
    "display({'image/svg+xml': run.timeline().svg}, raw=True)",
    "flow.run()",
    "'the' + ' end'",
)

# Whether anything of theirs has run, or would run at a click, anywhere on a page.
HARM = """() => {
    const found = [];
    const look = (root) => {
        for (const each of root.querySelectorAll("*")) {
            if (each.shadowRoot) look(each.shadowRoot);
            const isFrame = each.matches("iframe, object, embed") && /stolen/.test(each.outerHTML);
            const isScript = each.matches("script") && /^window.top.stolen/.test(each.textContent);
            if (isFrame || isScript) found.push(each.outerHTML);
            for (const { name, value } of each.attributes) {
                if (/^on/i.test(name) && /stolen/.test(value)) found.push(`${name}=${value}`);
                const isAddress = ["href", "src", "xlink:href"].includes(name);
                if (isAddress && /^javascript:/i.test(value.trim())) found.push(value);
            }
        }
    };
    look(document);
    return [window.top.stolen ?? "nothing", found];
}"""


def assert_harmless(page):
    assert page.evaluate(HARM) == ["nothing", []]


def test_nothing_that_a_flow_shows_runs_on_the_page(lab, page):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    lab.write("hostile.ipynb", [FLOW, *SHOWN], may_fail=(len(SHOWN) - 1,))
    lab.run_all(page, "hostile.ipynb")
    page.get_by_text("'the end'").wait_for(timeout=120_000)

    # All that can be opened or clicked is.
    panel = page.locator("[data-nbflow-run]").first
    nodes = panel.locator("g.node")
    titles = []
    for number in range(nodes.count()):
        nodes.nth(number).dispatch_event("click")
        titles.append(panel.locator(".sheet h4").inner_text())
        for each in panel.locator(".sheet details").all():
            each.evaluate("each => (each.open = true)")
        assert_harmless(page)
    assert set(INHERITED) <= set(titles)
    for each in page.locator("details").all():
        each.evaluate("each => (each.open = true)")
    assert_harmless(page)
    # It is all there to be read.
    assert page.locator(".sheet").first.get_by_text("window.top.stolen=1").count() > 0


def test_the_page_of_a_report_runs_nothing(tmp_path, page, on_cluster):
    (tmp_path / "flows.py").write_text(FLOW, encoding="utf-8")
    command = [sys.executable, "-m", "nbflow", "run", "flows.py:flow", "--report", "report.html"]
    done = subprocess.run(
        command, cwd=tmp_path, env=on_cluster, capture_output=True, text=True, timeout=120
    )
    report = tmp_path / "report.html"
    assert report.exists(), done.stderr

    page.goto(report.as_uri())

    for each in page.locator("details").all():
        each.evaluate("each => (each.open = true)")
    assert page.get_by_text("window.top.stolen=1").count() > 0
    assert_harmless(page)


def test_a_panel_says_that_its_kernel_was_restarted_and_a_new_run_has_a_fresh_one(lab, page, gate):
    lab.write("restarted.ipynb", [followed(gate)])
    lab.run_all(page, "restarted.ipynb")
    until_it_says(page, "running")

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()

    until_it_says(page, "kernel stopped")
    said = page.locator("[data-nbflow-run] .lost").inner_text()
    assert "The kernel has stopped" in said
    assert "nbflow.load(" in said
    assert not page.locator("[data-nbflow-run] .stop").is_visible()
    # What was known is there to be looked at all the same.
    page.locator("g.node").first.click()
    page.locator(".sheet").get_by_text("the kernel has stopped").wait_for()

    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    until_it_says(page, "running")
    gate.touch()
    until_it_says(page, "completed")
    assert page.locator("[data-nbflow-run]").count() == 1
    assert not page.locator("[data-nbflow-run] .lost").is_visible()


def test_a_panel_says_that_its_kernel_has_died(lab, page, gate):
    died = "import os, threading\nthreading.Timer(3, os._exit, (1,)).start()"
    lab.write("died.ipynb", [died + followed(gate)])
    lab.run_all(page, "died.ipynb")

    until_it_says(page, "running")
    until_it_says(page, "kernel stopped")


MOST = 50_000_000


class Slow:
    def __repr__(self):
        time.sleep(10)
        return "late"


class Picture:
    def __repr__(self):
        return "a picture"

    def _repr_html_(self):
        raise AssertionError("nobody asks for this")

    _repr_png_ = _repr_svg_ = _repr_mimebundle_ = _ipython_display_ = _repr_html_


def figure():
    from matplotlib.figure import Figure

    made = Figure()
    made.subplots().plot([1, 2])
    return made


def image():
    from PIL import Image

    return Image.new("RGB", (200, 100))


def table(*cells):
    return pd.DataFrame({"cell": pd.Series(cells, dtype=object)})


def chatter():
    for _ in range(100):
        print("x" * 1_000_000)
    print("\x1b[31mred\x1b[0m \x00\ud800 the end")
    return 1


# What a step gives, what is seen of it, and how large it is.
AWKWARD = {
    "wide": (lambda: pd.DataFrame({f"c{n}": ["a", None] for n in range(10_000)}), "2 × 10,000"),
    "text": (lambda: table("x" * MOST), "xxxxx"),
    "raw": (lambda: table(b"\xff\x00" * (MOST // 2)), "b&#x27;\\xff\\x00"),
    "many": (lambda: table(list(range(MOST // 8))), "[0, 1, 2, "),
    "bytes": (lambda: pd.DataFrame({"b": [b"\xff", b"", None] * 100}), "b&#x27;\\xff&#x27;"),
    "figure": (figure, "Figure size 640x480"),
    "image": (image, "PIL.Image.Image image mode=RGB size=200x100"),
    "pictures": (lambda: table(Picture(), image(), figure()), "a picture"),
    "picture": (Picture, "a picture"),
    "nested": (lambda: table(table(table(1)), {"a": table(2)}), "DataFrame 1 x 1"),
    "frames": (lambda: {"a": table(1), "b": [table(2)]}, "DataFrame 1 x 1"),
    "slow": (Slow, "&lt;Slow&gt;"),
    "slower": (lambda: table(*[Slow() for _ in range(20)]), "&lt;Slow&gt;"),
    "chatter": (chatter, "red \\x00\\ud800 the end"),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_values_are_shown_in_little_room_and_time(name, cluster):
    give, seen = AWKWARD[name]
    # By value: workers cannot import this file.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    begun = time.monotonic()

    run = step(give, name=name).s().run(display=None)
    shown = report(run.flow, run.state)

    # A guard: most of them take far less than a second.
    assert time.monotonic() - begun < 30
    assert seen in shown.html
    assert len(shown.html) < 200_000
    assert len(run.state.steps[name].log) < 70_000


DEAF = """
import os, pathlib, time
import nbflow, psutil
from nbflow import step

@step
def rows(x):
    return [{"a": x, "b": "y" * 100}] * 50

def run():
    begun, held = time.monotonic(), psutil.Process().memory_info().rss
    flow = nbflow.group(*[rows.s((n,)) >> rows.options(name="next") for n in range(200)])
    status = flow.run().status
    return str(status), time.monotonic() - begun, psutil.Process().memory_info().rss - held

run()
told = [run() for _ in range(3)]
pathlib.Path("told.tmp").write_text(repr(told))
os.replace("told.tmp", "told.txt")
"""


def test_a_run_does_not_wait_for_a_front_end_that_never_answers(tmp_path, on_cluster):
    env = {**on_cluster, "NBFLOW_DISPLAY": "live"}
    manager, client = start_new_kernel(cwd=str(tmp_path), env=env)
    told = tmp_path / "told.txt"
    try:
        # Nothing that the kernel says is ever read, and no panel is opened.
        client.execute(DEAF)
        deadline = time.monotonic() + 150
        while not told.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        runs = literal_eval(told.read_text())
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert [status for status, _, _ in runs] == ["completed"] * 3
    # Guards: 2 seconds and 8 MB, most of it what the panel would show, were measured.
    assert max(seconds for _, seconds, _ in runs) < 45
    assert max(grown for _, _, grown in runs) < 60_000_000
