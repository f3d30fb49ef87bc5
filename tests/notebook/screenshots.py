"""Takes the screenshots of the documents, of a real JupyterLab: run by hand.

``python -m pytest tests/notebook/screenshots.py`` writes them into ``docs/images``. They are looked
at, and not compared: times in them differ.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(280)]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH, HEIGHT = 1200, 680

STEPS = """import pathlib, time
import pandas as pd
import nbflow
from nbflow import step
nbflow.connect(n_workers=2, threads_per_worker=4);
FOLDER = pathlib.Path({folder!r})

def wait_for(name):
    while not (FOLDER / name).exists():
        time.sleep(0.02)

@step
def extract(city):
    "Read the sales of a city, one row for each receipt."
    sales = [None if n % 7 == 3 else 20 + n * 13 % 90 for n in range(1_204)]
    day = pd.Timestamp("2026-03-01") + pd.to_timedelta([n % 31 for n in range(1_204)], unit="D")
    return pd.DataFrame({{"city": city, "day": day, "sales": sales}})

@step
def clean(df):
    if df["city"].iat[0] == "Lima":
        wait_for("lima")
    return df.dropna(subset=["sales"])

@step
def merge(frames):
    return pd.concat(frames, ignore_index=True)

@step
def stations():
    return list(range(60))

@step
def fetch(station):
    if station > 36:
        wait_for("weather")
    time.sleep(0.02)
    return pd.DataFrame({{"station": [station] * 31, "degrees": range(31)}})

@step
def daily(frames):
    return pd.concat(frames).groupby("degrees", as_index=False).size()"""

REST = """@step
def join(sales, weather):
    return sales.assign(day=sales["day"].dt.day).merge(weather, left_on="day", right_on="degrees")

@step
def publish(df):
    missing = {"Oslo", "Rome", "Cairo"} - set(df["city"])
    if missing:
        raise ValueError(f"no sales of {', '.join(missing)}")
    return df.groupby("city")["sales"].sum()"""

FLOW = """sales = [extract.s(city) >> clean for city in ("Oslo", "Rome", "Lima")] >> merge
weather = stations >> fetch.map() >> daily
etl = ((sales, weather) >> join >> publish).named("etl")"""


@pytest.fixture
def seen(lab, browser):
    """Open JupyterLab in a window of the size of a screenshot, and run the flow."""
    contexts = []

    def look(theme: str):
        for name in ("lima", "weather"):
            (lab.root / name).unlink(missing_ok=True)
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        contexts.append(context)
        page = context.new_page()
        # JupyterLab asks once whether it may tell news.
        page.add_locator_handler(page.get_by_role("button", name="No", exact=True), decline)
        steps = STEPS.format(folder=str(lab.root))
        lab.write("etl.ipynb", [steps, REST, FLOW, "etl.run()"], may_fail=(3,))
        lab.open(page, "etl.ipynb")
        choose_theme(page, theme)
        page.locator(".lm-TabBar-tab[data-id='filebrowser']").click()
        lab.begin(page)
        return page

    yield look
    for context in contexts:
        context.close()


def decline(button):
    button.click()


def choose_theme(page, theme):
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Theme", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text(theme, exact=True).click()


def until(page, name, said):
    page.wait_for_function(
        """([name, said]) => [...document.querySelectorAll("[data-nbflow-run]")].some((host) =>
            [...host.shadowRoot?.querySelectorAll("g.node") ?? []].some((node) =>
                node.textContent.includes(name) && node.textContent.includes(said)))""",
        arg=[name, said],
        timeout=45_000,
    )


def picture(page, name, height):
    """Bring the cell that runs to the top, and take a picture of the window."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.locator(".jp-CodeCell").nth(2).evaluate("each => each.scrollIntoView()")
    page.mouse.move(5, height - 5)
    page.wait_for_timeout(500)
    page.screenshot(path=str(IMAGES / f"{name}.png"))


def node(page, name):
    return page.locator("g.node").filter(has_text=name).last


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_screenshots(lab, seen, theme):
    page = seen(theme)
    until(page, "fetch", "37/60")
    until(page, "clean_3", "running")
    dark = theme.endswith("Dark")
    if dark:
        picture(page, "panel_running_dark", 540)
        for name in ("lima", "weather"):
            (lab.root / name).touch()
        until(page, "publish", "failed")
        return
    picture(page, "panel_running", 540)

    node(page, "clean_2").click()
    page.locator(".sheet td", has_text="Rome").first.wait_for()
    picture(page, "panel_table", 760)

    for name in ("lima", "weather"):
        (lab.root / name).touch()
    until(page, "publish", "failed")
    page.locator(".problems button").first.click()
    picture(page, "panel_failure", 680)
