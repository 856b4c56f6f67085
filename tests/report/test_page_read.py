"""The page as it is read: values beside the pointer, in a few screens, whole on a phone, words whole, wide tables told.

Needs Chromium, its driver and selenium. Names are ordinary here; `test_page_in_browser.py` has hostile ones.
"""

from __future__ import annotations

import re

import pytest

from made_runs import run_maker
from ngptlab.report.page import write_report
from ngptlab.stats.words import nats
from ngptlab.studies.ladder import numbers as ladders
from ngptlab.studies.ladder.files import write_ladder
from page_browser import NEEDS_CHROMIUM, Driver, look, press
from page_browser import browser as browser

pytest.importorskip("selenium")
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

pytestmark = NEEDS_CHROMIUM

SCREEN = 800
"""Height of a screen in pixels, at a width of 1000."""
LOSSES = {"gpt": (1.9, 2.0, 2.1), "ngpt_with_a_longer_name": (1.81, 1.9, 1.99)}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two methods with three seeds each, and a ladder, as a file's address."""
    folder = tmp_path_factory.mktemp("read")
    make = run_maker(folder)
    runs = [
        make(
            method,
            {step: end + 3.0 / (1 + step) for step in range(0, 101, 10)},
            seed=seed,
            seconds=[0.1] * 100,
            length=[end, end + 0.1, end + 0.2],
        )
        for method, ends in LOSSES.items()
        for seed, end in enumerate(ends)
    ]
    for run in runs:
        (run / "checkpoints" / "step-100").mkdir(parents=True)
    rungs = [
        ladders.Rung(
            label=label, arm="a", seams=label.split()[1:2], lr=2**-9, lr_of="a", reason="", runs=(run,)
        )
        for label, run in zip(("gpt", "+ weight_decay and warmup_steps"), runs[::3], strict=True)
    ]
    found = ladders.measure(rungs, recipe="made", base="gpt", target="ngpt", mode="cumulative")
    write_ladder(found, folder / "ladder")
    return write_report(
        runs,
        folder / "out",
        title="Two methods",
        studies=[folder / "ladder" / "ladder.json"],
        sampler=lambda run, **rule: (100, "def f(x):\n    return x\n" * 12),
    ).as_uri()


@pytest.fixture
def page(browser: Driver, address: str) -> Driver:
    look(browser, 1600)
    browser.get(address)
    WebDriverWait(browser, 20).until(
        lambda browser: browser.execute_script("return document.readyState") == "complete"
    )
    return browser


def note(page: Driver) -> list[str]:
    return [each.text for each in page.find_elements(By.CSS_SELECTOR, ".values")]


def point(page: Driver, chart: str, across: float) -> None:
    """Put the pointer on a chart, so far from its left edge."""
    element = page.find_element(By.CSS_SELECTOR, chart)
    offset = round((across - 0.5) * element.size["width"])
    ActionChains(page, duration=0).move_to_element(element).move_by_offset(offset, 0).perform()


SHOWN = "#figure-loss .chart[data-axis='tokens'][data-scale='linear']"


def test_the_pointer_shows_the_values_there(page: Driver) -> None:
    assert note(page) == []
    point(page, SHOWN, 0.975)
    (text,) = note(page)
    assert "12,800 tokens" in text
    for method, ends in LOSSES.items():
        half = 4.302652729749464 * 0.1 / 3**0.5 * (0.9 if "n" in method[:1] else 1.0)
        assert f"{method} {sum(ends) / 3 + 3 / 101:.4f} ± {half:.4f}" in text.replace("\n", " ")
    dots = page.find_elements(By.CSS_SELECTOR, f"{SHOWN} .dot")
    assert len(dots) == len(LOSSES)
    ActionChains(page, duration=0).move_to_element(page.find_element(By.TAG_NAME, "h1")).perform()
    assert note(page) == []


def test_dots_lie_on_the_curves(page: Driver) -> None:
    """The curve's last vertex, as the drawing has it, and the dot of the last value are the same place."""
    point(page, SHOWN, 0.975)
    apart = page.execute_script(
        """
        const chart = document.querySelector(arguments[0]);
        const dots = [...chart.querySelectorAll(".dot")].map((dot) => dot.getBoundingClientRect());
        const ends = [...chart.querySelectorAll("path")]
          .filter((path) => getComputedStyle(path).strokeWidth === "1.6px" && path.getTotalLength() > 60)
          .map((path) => path.getPointAtLength(path.getTotalLength()).matrixTransform(path.getScreenCTM()));
        return dots.map((dot) => Math.min(...ends.map((end) =>
          Math.hypot(end.x - dot.x - dot.width / 2, end.y - dot.y - dot.height / 2))));
        """,
        SHOWN,
    )
    assert len(apart) == 2 and max(apart) < 1.5  # pixels: half of a dot's border, and rounding


def test_arrow_keys_go_from_value_to_value(page: Driver) -> None:
    page.execute_script("document.querySelector(arguments[0]).focus()", SHOWN)
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert "1,280 tokens" in note(page)[0]
    press(page, Keys.ARROW_LEFT)
    assert note(page)[0].startswith("0 tokens")
    press(page, Keys.ESCAPE)
    assert note(page) == []


def test_values_are_of_the_chosen_axis(page: Driver) -> None:
    page.find_element(By.CSS_SELECTOR, "label[for='loss-axis-step']").click()
    point(page, "#figure-loss .chart[data-axis='step'][data-scale='linear']", 0.975)
    assert "100 steps" in note(page)[0]
    point(page, "#figure-length .chart", 0.98)
    # A bin stands at its geometric middle: the last is 32 to 64.
    assert re.match(r"45\.25\d* position", note(page)[0])
    assert nats(2.0 + 3 / 101 + 0.2)[:3] in note(page)[0]


def test_the_page_is_read_in_six_screens(page: Driver) -> None:
    look(page, 1000)
    page.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = false; })")
    height = page.execute_script("return document.documentElement.scrollHeight")
    assert 2 * SCREEN < height <= 6 * SCREEN


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_panel_is_cut_on_a_phone(page: Driver, scheme: str) -> None:
    look(page, 400, scheme)
    page.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    cut = page.execute_script(
        """
        return [...document.querySelectorAll(".plot")].filter((plot) => {
          const box = plot.getBoundingClientRect();
          const place = plot.closest("figure").getBoundingClientRect();
          const texts = [...plot.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
          return box.height && (box.left < place.left || box.right > place.right
            || texts.some((text) => text.left < box.left - 1 || text.right > box.right + 1));
        }).map((plot) => plot.getAttribute("aria-label"));
        """
    )
    assert cut == []
    assert len(page.find_elements(By.CSS_SELECTOR, ".study .plot")) == 2


@pytest.mark.parametrize("width", [400, 1000])
def test_words_are_whole(page: Driver, width: int) -> None:
    """A word is on two lines only where it is longer than a line. Names of fields and files may break at their marks."""
    look(page, width)
    page.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    broken = page.execute_script(
        """
        const found = [];
        const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
          if (node.parentElement.closest("svg, pre, script")) continue;
          for (const word of node.data.matchAll(/[A-Za-z]{3,14}(?=[ .,;:)]|$)/g)) {
            const range = document.createRange();
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (tops.size > 1) found.push(word[0]);
          }
        }
        return found;
        """
    )
    assert broken == []


def test_a_wide_table_says_that_it_scrolls(page: Driver) -> None:
    def told(table: str) -> tuple[bool, bool]:
        found: list[bool] = page.execute_script(
            """
            const place = document.querySelector(arguments[0]).closest(".scroll");
            return [place.scrollWidth > place.clientWidth, place.nextElementSibling.checkVisibility()];
            """,
            table,
        )
        return found[0], found[1]

    assert told("#methods") == (False, False)
    look(page, 400)
    page.execute_script("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    WebDriverWait(page, 5).until(lambda _: told("#study-1") == (True, True))
    hint = page.find_element(By.CSS_SELECTOR, ".hint:not([hidden])").text
    assert "scroll" in hint
    shade = "return getComputedStyle(document.querySelector('.scroll')).backgroundAttachment"
    assert page.execute_script(shade).startswith("local, local, scroll, scroll")


def test_a_link_of_the_contents_opens_what_it_leads_to(page: Driver) -> None:
    for link in page.find_elements(By.CSS_SELECTOR, "nav a"):
        target = page.find_element(By.CSS_SELECTOR, (link.get_dom_attribute("href") or ""))
        link.click()
        assert page.execute_script("return arguments[0].getBoundingClientRect().top", target) < 900


def test_samples_are_read_without_a_network(page: Driver) -> None:
    samples = page.find_elements(By.CSS_SELECTOR, ".samples pre")
    assert len(samples) == 2 and samples[0].text.startswith("def f(x):\n    return x")
