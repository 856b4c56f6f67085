"""The page as a browser shows it: quiet, asking for nothing, usable by mouse and keys, narrow or wide, dark or printed.

Needs Chromium, its driver and selenium. Names, title and provenance of the page are hostile in every test.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from made_runs import run_maker
from ngptlab.report.page import write_report
from ngptlab.studies.ladder import numbers as ladders
from ngptlab.studies.ladder.files import write_ladder
from page_browser import NEEDS_CHROMIUM, Driver, look, press
from page_browser import browser as browser

pytest.importorskip("selenium")
from selenium.webdriver import Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = NEEDS_CHROMIUM

SCRIPT = "<script>window.hit=1</script>"
IMAGE = '"><img src=x onerror="window.hit=1">'
STYLE = f"</style></title>{SCRIPT}"
LONG = "long_" + "x" * 190
RIGHT_TO_LEFT = "\u202eשלום\u05d0"
METHODS = ("plain", SCRIPT + IMAGE, LONG, RIGHT_TO_LEFT)
LOSSES = (2.105, 2.1034, 2.11, 2.0999)
"""Read as text, whole numbers on either side of the point, 2.11 comes first of them. The gaps have long labels."""
STEPS = 100


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of four methods and a ladder, as a file's address."""
    folder = tmp_path_factory.mktemp("page")
    make = run_maker(folder)
    env = {"data_digest": "d", "commit": SCRIPT, IMAGE: {"deep": [STYLE, LONG]}}
    runs = [
        make(
            method,
            {0: 5.0, 50: 2 * loss - 1, STEPS: loss},
            name=f"{number}{method}"[:100].replace("/", "_"),
            seconds=[0.1 + 0.01 * number] * STEPS,
            length=[loss, loss + 0.1],
            env=env,
        )
        for number, (method, loss) in enumerate(zip(METHODS, LOSSES, strict=True))
    ]
    rungs = []
    for label, loss in (("a", 2.0), ("+ " + IMAGE, 1.8), ("+ qk", 1.9)):
        path = make("a", {0: 5.0, STEPS: loss}, name=f"rung{len(rungs)}")
        seams = () if label == "a" else (label[2:],)
        fields: dict[str, Any] = {"lr": 2**-9, "lr_of": "a", "reason": "", "runs": (path,)}
        rungs.append(ladders.Rung(label=label, arm=label, seams=seams, **fields))
    found = ladders.measure(rungs, recipe=STYLE, base="a", target=SCRIPT, mode="cumulative")
    write_ladder(found, folder / "ladder")
    studies = [folder / "ladder" / "ladder.json"]
    return write_report(runs, folder / "out", title=STYLE + IMAGE, studies=studies).as_uri()


@pytest.fixture
def page(browser: Driver, address: str) -> Driver:
    """The browser on the page as it opens: 1600 px wide, light, on a screen, nothing logged before."""
    look(browser, 1600)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(address)
    WebDriverWait(browser, 20).until(
        lambda browser: browser.execute_script("return document.readyState") == "complete"
    )
    return browser


def shown(page: Driver) -> dict[str, list[str]]:
    """By figure, the charts that take up space, each as 'axis scale'."""
    found: dict[str, list[str]] = page.execute_script(
        """
        const visible = (chart) => chart.getBoundingClientRect().height > 50;
        const name = (chart) => `${chart.dataset.axis} ${chart.dataset.scale}`;
        return Object.fromEntries([...document.querySelectorAll(".figures figure")].map(
          (figure) => [figure.id, [...figure.querySelectorAll(".chart")].filter(visible).map(name)]));
        """
    )
    return found


def cut(page: Driver) -> list[str]:
    """Texts of the visible charts of runs that don't lie within their chart."""
    found: list[str] = page.execute_script(
        """
        return [...document.querySelectorAll(".figures .plot")].flatMap((plot) => {
          const frame = plot.getBoundingClientRect();
          return [...plot.querySelectorAll("text")].filter((text) => {
            const box = text.getBoundingClientRect();
            return frame.height && (box.left < frame.left || box.right > frame.right + 1
              || box.top < frame.top || box.bottom > frame.bottom + 1);
          }).map((text) => text.textContent);
        });
        """
    )
    return found


def tab(page: Driver, start: str, times: int, to: str) -> None:
    """Press Tab from what `start` names; the focus must then be on what `to` names."""
    page.execute_script("document.querySelector(arguments[0]).focus()", start)
    press(page, *[Keys.TAB] * times)
    assert page.execute_script("return document.activeElement.matches(arguments[0])", to)


def column(page: Driver, table: str, number: int) -> list[str]:
    cells: list[str] = page.execute_script(
        "return [...document.querySelector(arguments[0]).tBodies[0].rows].map("
        "(row) => row.cells[arguments[1]].dataset.value ?? row.cells[arguments[1]].textContent.trim())",
        table,
        number,
    )
    return cells


def sorts(page: Driver, table: str) -> list[str | None]:
    heads = page.find_elements(By.CSS_SELECTOR, f"{table} thead th")
    return [head.get_dom_attribute("aria-sort") for head in heads]


def test_nothing_is_asked_for_nothing_is_logged_and_no_name_runs(page: Driver, address: str) -> None:
    """Also after every control was pressed."""
    assert page.execute_script("return [...document.querySelectorAll('label, button, summary')].length") > 30
    page.execute_script(
        "document.querySelectorAll('label, button, summary').forEach((control) => control.click())"
    )
    assert page.execute_script("return typeof window.hit") == "undefined"
    assert [entry["message"] for entry in page.get_log("browser")] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked == [address]
    assert page.find_elements(By.TAG_NAME, "img") == []
    read = page.execute_script("return document.querySelector('main').textContent")
    assert all(text in read for text in (SCRIPT, IMAGE, STYLE, LONG))


def test_a_figure_shows_one_chart_and_toggles_by_mouse(page: Driver) -> None:
    before = shown(page)
    assert len(before) == 7 and all(len(charts) == 1 for charts in before.values())
    assert before["figure-loss"] == ["tokens linear"]
    axes = ("step", "seconds", "flops", "tokens")
    for scale in ("log", "linear"):
        page.find_element(By.CSS_SELECTOR, f"label[for='loss-scale-{scale}']").click()
        for axis in axes:
            page.find_element(By.CSS_SELECTOR, f"label[for='loss-axis-{axis}']").click()
            assert shown(page) == before | {"figure-loss": [f"{axis} {scale}"]}


def test_a_figure_toggles_by_keys(page: Driver) -> None:
    before = shown(page)
    tab(page, ".skip", 1, to="#loss-axis-tokens")
    press(page, Keys.ARROW_RIGHT)
    assert shown(page) == before | {"figure-loss": ["step linear"]}
    press(page, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert shown(page) == before | {"figure-loss": ["flops linear"]}
    press(page, Keys.TAB, Keys.ARROW_DOWN)
    assert shown(page) == before | {"figure-loss": ["flops log"]}
    outline = "return getComputedStyle(document.querySelector('#loss-scale-log + label')).outlineStyle"
    assert page.execute_script(outline) == "solid"


@pytest.mark.parametrize(
    ("number", "name", "way"),
    [(4, "loss", "click"), (6, "hash", "click"), (4, "loss", Keys.SPACE), (6, "hash", Keys.ENTER)],
    ids=["numbers by mouse", "text by mouse", "numbers by Space", "text by Enter"],
)
def test_a_table_sorts_and_comes_back(page: Driver, number: int, name: str, way: str) -> None:
    button = page.find_element(By.CSS_SELECTOR, f"#runs th:nth-child({number + 1}) button")
    assert button.text.startswith(name)
    given = column(page, "#runs", number)
    rising = sorted(given, key=float if name == "loss" else str)
    act: Callable[[], None] = button.click
    if way != "click":
        tab(page, "[aria-label='Runs']", number + 1, to=f"#runs th:nth-child({number + 1}) button")
        act = lambda: press(page, way)  # noqa: E731
    assert rising not in (given, given[::-1])
    for direction, expected in (("ascending", rising), ("descending", rising[::-1]), (None, given)):
        act()
        assert column(page, "#runs", number) == expected
        assert sorts(page, "#runs") == [direction if i == number else None for i in range(7)]


def test_sorting_by_another_column_starts_anew_and_leaves_other_tables(page: Driver) -> None:
    others = column(page, "#study-1", 0)
    for number in (4, 1):
        page.find_element(By.CSS_SELECTOR, f"#runs th:nth-child({number + 1}) button").click()
    assert sorts(page, "#runs") == [None, "ascending", *[None] * 5]
    assert column(page, "#runs", 0) != sorted(column(page, "#runs", 0))
    assert column(page, "#study-1", 0) == others and set(sorts(page, "#study-1")) == {None}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_fits_its_window(page: Driver, width: int, scheme: str, tmp_path: Path) -> None:
    look(page, width, scheme)
    page.find_element(By.TAG_NAME, "summary").click()
    root = "document.documentElement"
    fits = f"return innerWidth == {width} && {root}.scrollWidth <= {root}.clientWidth"
    assert page.execute_script(fits)
    assert all(len(charts) == 1 for charts in shown(page).values())
    assert cut(page) == []
    path = tmp_path / f"{width}-{scheme}.png"
    assert page.save_screenshot(str(path))
    image = matplotlib.image.imread(path)
    assert image.shape[:2] == (900, width)
    assert image[..., :3].std() > 0.05  # something is drawn
    assert (image[0, 0, :3].mean() > 0.5) == (scheme == "light")


def test_the_page_prints(page: Driver) -> None:
    look(page, 800, "dark", media="print")
    assert all(len(charts) == 1 for charts in shown(page).values())
    hidden = page.find_elements(By.CSS_SELECTOR, ".choices, .files")
    assert hidden and not any(element.is_displayed() for element in hidden)
    background = "return getComputedStyle(document.body).backgroundColor"
    assert page.execute_script(background) == "rgb(255, 255, 255)"
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert pdf.startswith(b"%PDF-") and len(pdf) > 10_000


def test_without_scripts_figures_toggle_and_tables_stand(page: Driver, address: str) -> None:
    off = "Emulation.setScriptExecutionDisabled"
    page.execute_cdp_cmd(off, {"value": True})
    try:
        page.get(address)
        page.find_element(By.CSS_SELECTOR, "label[for='loss-axis-seconds']").click()
        charts = page.find_elements(By.CSS_SELECTOR, "#figure-loss .chart")
        seen = [chart.get_attribute("data-axis") for chart in charts if chart.is_displayed()]
        assert seen == ["seconds"]
        assert page.find_elements(By.CSS_SELECTOR, "th button") == []
        assert len(page.find_elements(By.CSS_SELECTOR, "#runs tbody tr")) == len(METHODS)
    finally:
        page.execute_cdp_cmd(off, {"value": False})


@pytest.mark.parametrize("width", [400, 1600])
def test_long_names_leave_room_beside_them(page: Driver, width: int) -> None:
    """First cells stand still while a table scrolls: a wide one would hide all others."""
    look(page, width)
    widths = "return [...document.querySelectorAll('tr > :first-child')].map((cell) => cell.getBoundingClientRect().width)"
    assert max(page.execute_script(widths)) < 0.6 * width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Driver, scheme: str) -> None:
    """By the 4.5 : 1 of WCAG 2 (AA), for every text outside the drawings."""
    look(page, 1600, scheme)
    assert page.execute_script(FAINT) == []


FAINT = """
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (rgb) => rgb.map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const found = numbers(getComputedStyle(element).backgroundColor);
    if (found.length === 3 || found[3] > 0) return found.slice(0, 3);
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll("main *:not(svg *)")]
  .filter((element) => element.checkVisibility() && [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((element) => [element.tagName + "." + element.className,
    ...[numbers(getComputedStyle(element).color).slice(0, 3), ground(element)].map(light).sort((a, b) => b - a)])
  .filter(([, more, less]) => (more + 0.05) / (less + 0.05) < 4.5);
"""
