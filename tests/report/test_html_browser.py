"""The HTML report in a real browser: Chromium without a window, driven by selenium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from html_results import CAUSE, calibration, check_result, recalibrated, site, statistics
from report_records import (
    BAD,
    GOOD,
    KEPT,
    VARIABLES,
    export_result,
    finding,
    fold_result,
    source_finding,
    validation,
)

from bnopt.evidence import Agreement
from bnopt.report.html import write

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>\"'&"
PHONE, DESK = (375, 812), (1280, 900)


def start(*, script: bool = True) -> Any:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not script:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": 2}
        )
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = start()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def browser_without_script() -> Iterator[Any]:
    driver = start(script=False)
    yield driver
    driver.quit()


Show = Callable[..., Any]


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Show:
    """Opens the page of a result, in a window of a size and a colour scheme."""

    def open_page(result: Any, size: tuple[int, int] = DESK, scheme: str = "light") -> Any:
        return load(browser, write(result, tmp_path / "report.html"), size, scheme)

    return open_page


def load(browser: Any, path: Path, size: tuple[int, int] = DESK, scheme: str = "light") -> Any:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(path.as_uri())
    return browser


def full_check() -> Any:
    """Every kind of section, long names, errors, warnings, a scope."""
    made = check_result(12, 96, stale=5)
    long = "/model/backbone/" + "layer4_block2_branch2c_" * 6 + "bn/FusedBatchNormV3"
    sites = (*made.sites[:11], replace(made.sites[11], name=long, scope="main/if0.then_branch"))
    more = (
        finding("warning", code="epsilon-differs", site=None, message="epsilon differs " * 20),
        finding("info", code="dead-channels", site="main:y11", evidence={"c": list(range(50))}),
    )
    info = replace(made.info, path="/models/" + "long" * 40 + ".onnx", producer="tf2onnx" * 20)
    return replace(
        made, info=info, sites=sites, findings=(*made.findings, *more), notes=("n" * 300,)
    )


def full_calibration() -> Any:
    """Every kind of section, a long name, batch norms that had no statistics."""
    made = calibration(12, 96, right=3, none=2, proof=validation(GOOD), notes=("n" * 300,))
    long = "/model/backbone/" + "layer4_block2_branch2c_" * 6 + "bn/FusedBatchNormV3"
    kept = (KEPT, replace(KEPT, name=long, message="it stands in " + long))
    layers = (*made.layers[:11], recalibrated(11, 96, state="none", name=long))
    return replace(made, layers=layers, kept=kept)


def full_export() -> Any:
    """Every kind of section, long names, a repair, outputs that differ."""
    long = "model/backbone/" + "layer4_block2_branch2c_" * 6 + "bn/moving_mean"
    odd = replace(VARIABLES[0], name=long, role="r" * 80, shape=(3, 3, 64, 64), high=float("nan"))
    bad = Agreement(8, long, float("nan"), float("inf"), 1e-3, False)
    return export_result(
        source="/training/" + "long" * 40 + "/model.ckpt.meta",
        framework="tensorflow 2.21.0, tf2onnx 1.17.0 " + "x" * 80,
        variables=(*VARIABLES, odd),
        findings=(
            source_finding(site=long, message="'" + long + "' was never updated"),
            source_finding("warning", code="decay-is-flag", site=None, message="decay " * 60),
            source_finding("info", code="few-steps"),
        ),
        fold=fold_result(24, 2, validation=validation(GOOD, BAD), findings=(finding("warning"),)),
        calibration=full_calibration(),
        agreement=(*export_result().agreement, bad),
        notes=("n" * 300,),
    )


RESULTS = {
    "check": full_check,
    "good check": lambda: check_result(4),
    "no batch norm": lambda: check_result(0, behaviour=None),
    "fold": lambda: fold_result(24, 2, validation=validation(GOOD, BAD)),
    "calibration": full_calibration,
    "small calibration": lambda: calibration(2, right=1),
    "fold of a calibration": lambda: fold_result(calibration=full_calibration()),
    "export": lambda: full_export(),
    "refused export": lambda: replace(full_export(), fold=None, agreement=(), output=None),
    "dry fold": lambda: fold_result(validation=None, dry_run=True, findings=(finding(),)),
}


@pytest.fixture(params=RESULTS)
def result(request: pytest.FixtureRequest) -> Any:
    return RESULTS[request.param]()


def requests(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def test_loads_without_complaint_and_asks_for_nothing(show: Show, result: Any) -> None:
    page = show(result)
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    assert page.get_log("browser") == []
    assert requests(page) == [page.current_url]


def test_policy_stops_what_does_not_belong_to_the_page(show: Show) -> None:
    page = show(check_result(2))
    page.execute_script(
        """const s = document.createElement("script");
        s.textContent = "document.title = 'taken over'";
        document.body.append(s);
        const i = new Image(); i.src = "http://127.0.0.1:9/x.png"; document.body.append(i);"""
    )
    assert page.title == "bnopt check: net.onnx"
    assert len([line for line in page.get_log("browser") if "violates" in line["message"]]) == 2


@pytest.mark.parametrize("size", [PHONE, (320, 600), DESK], ids=["phone", "narrow", "desk"])
def test_nothing_overflows(show: Show, result: Any, size: tuple[int, int]) -> None:
    page = show(result, size)
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]
    # Nor does any text stick out of its box where nothing scrolls.
    out = page.execute_script(
        """return [...document.querySelectorAll("main *")].filter(e =>
          !e.closest(".scroll, svg") && e.getBoundingClientRect().right > arguments[0] + 1
        ).map(e => e.outerHTML.slice(0, 200))""",
        size[0],
    )
    assert out == []


def test_wide_tables_scroll_in_their_box(show: Show) -> None:
    page = show(full_check(), PHONE)
    box = page.execute_script(
        """const t = document.querySelector("table.sortable").parentElement;
        t.scrollLeft = 1e6; return [t.scrollLeft, t.clientWidth, t.tabIndex]"""
    )
    assert box[0] > 0
    assert box[1] <= PHONE[0]
    assert box[2] == 0


def head(page: Any, title: str) -> Any:
    return page.find_element("xpath", f"//thead//th[contains(., '{title}')]")


def column(page: Any, title: str) -> list[str]:
    return page.execute_script(
        """const th = arguments[0], i = th.cellIndex;
        return [...th.closest("table").tBodies[0].rows].map(r => r.cells[i].innerText)""",
        head(page, title),
    )


def test_sorting_by_mouse(show: Show) -> None:
    numbers = tuple(
        replace(statistics(i, 2, measured=False), variance=(v, v / 2))
        for i, v in enumerate([5.0, float("nan"), 20.0, 1e-3, 100.0, float("inf")])
    )
    page = show(check_result(6, 2, statistics=numbers))
    button = head(page, "Variance").find_element("tag name", "button")
    assert head(page, "Variance").get_attribute("aria-sort") == "none"
    button.click()
    assert head(page, "Variance").get_attribute("aria-sort") == "descending"
    # By number, not by text; what has no number comes last in either direction.
    down = ["50 to 100", "10 to 20", "2.5 to 5", "0.0005 to 0.001"]
    assert column(page, "Variance")[:4] == down
    assert set(column(page, "Variance")[4:]) == {"2 not finite"}
    button.click()
    assert head(page, "Variance").get_attribute("aria-sort") == "ascending"
    assert column(page, "Variance")[:4] == down[::-1]
    assert set(column(page, "Variance")[4:]) == {"2 not finite"}
    head(page, "Batch norm").find_element("tag name", "button").click()
    assert head(page, "Variance").get_attribute("aria-sort") == "none"
    assert head(page, "Batch norm").get_attribute("aria-sort") == "ascending"
    names = [name.replace("\n", "") for name in column(page, "Batch norm")]
    assert names == sorted(site(i).name for i in range(6))


def test_sorting_by_keyboard(show: Show) -> None:
    keys = pytest.importorskip("selenium.webdriver").Keys
    page = show(check_result(12, 8, stale=2))
    active = lambda: page.switch_to.active_element  # noqa: E731
    page.execute_script("document.querySelector('table.sortable').parentElement.focus()")
    active().send_keys(keys.TAB)
    assert active().tag_name == "button"
    assert active().text == "#"
    active().send_keys(keys.ENTER)
    assert column(page, "#") == [str(n) for n in range(12, 0, -1)]
    active().send_keys(keys.SPACE)
    assert column(page, "#") == [str(n) for n in range(1, 13)]
    active().send_keys(keys.TAB, keys.TAB)
    focused = page.execute_script("return document.activeElement.matches(':focus-visible')")
    assert focused
    outline = active().value_of_css_property("outline-style")
    assert outline == "solid"


def test_rows_move_as_a_whole(show: Show) -> None:
    page = show(check_result(12, 8, stale=2))
    before = dict(zip(column(page, "#"), column(page, "Scale"), strict=True))
    head(page, "Scale").find_element("tag name", "button").click()
    after = dict(zip(column(page, "#"), column(page, "Scale"), strict=True))
    assert after == before
    assert list(after) != list(before)


def test_links_open_the_layer(show: Show) -> None:
    page = show(check_result(12, 8))
    assert not page.find_element("id", "bn7").is_displayed()
    page.find_element("css selector", "td a[href='#bn7'], th a[href='#bn7']").click()
    assert page.find_element("id", "bn7").is_displayed()


def test_overview_leads_to_the_layer(show: Show) -> None:
    page = show(check_result(12, 8))
    page.find_element("css selector", ".overview a[href$='bn9'] rect").click()
    assert page.find_element("id", "bn9").is_displayed()


def background(page: Any) -> list[int]:
    colour = page.find_element("tag name", "body").value_of_css_property("background-color")
    return [int(part) for part in colour.strip("rgba()").split(",")[:3]]


def test_dark_and_light(show: Show) -> None:
    assert min(background(show(check_result(2)))) > 200
    assert max(background(show(check_result(2), scheme="dark"))) < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_where_it_stands(show: Show, result: Any, scheme: str) -> None:
    """The colours as the browser computes them, each against the nearest ground behind it."""
    page = show(result, scheme=scheme)
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    poor = page.execute_script(
        """
        const parts = (c) => c.match(/[\\d.]+/g).map(Number);
        const lum = (c) => parts(c).slice(0, 3).map(v => v / 255)
          .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
          .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
        const ground = (e) => {
          for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (parts(c)[3] !== 0) return c;
          }
          return "rgb(255,255,255)";
        };
        const poor = [];
        for (const e of document.querySelectorAll("main *")) {
          if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
          if (e.closest("title, script")) continue;
          const style = getComputedStyle(e);
          const ink = e.closest("svg") ? style.fill : style.color;
          const [a, b] = [lum(ink), lum(ground(e))].sort((x, y) => y - x);
          if ((a + .05) / (b + .05) < 4.5) poor.push([e.outerHTML.slice(0, 150), ink, ground(e)]);
        }
        return poor;
        """
    )
    assert poor == []


def test_names_show_as_text(show: Show) -> None:
    made = check_result(2, 8, stale=1)
    sites = tuple(replace(each, name=EVIL) for each in made.sites)
    findings = (replace(made.findings[0], message=EVIL, fix=EVIL, evidence={EVIL: EVIL}),)
    page = show(replace(made, sites=sites, findings=findings, notes=(EVIL,)))
    assert column(page, "Batch norm") == [EVIL, EVIL]
    assert EVIL in page.find_element("tag name", "body").text
    assert len(page.find_elements("tag name", "script")) == 1
    assert page.get_log("browser") == []


def test_readable_without_script(browser_without_script: Any, tmp_path: Path) -> None:
    page = load(browser_without_script, write(full_check(), tmp_path / "report.html"))
    assert page.find_elements("tag name", "button") == []
    text = page.find_element("tag name", "body").text
    for part in ("Failed: 1 error", "Most likely cause", CAUSE, "All batch norms", "into conv0"):
        assert part in text
    assert len(page.find_elements("css selector", "table.sortable tbody tr")) >= 12
    summary = page.find_element("css selector", ".layer summary")
    summary.click()
    plot = page.find_element("css selector", ".layer .plot")
    assert plot.is_displayed()
    assert plot.size["height"] > 100


def test_accessible_names(show: Show, result: Any) -> None:
    page = show(result)
    missing = page.execute_script(
        """return [
          ...[...document.querySelectorAll("svg[role=img]")].filter(e => !e.querySelector("title")),
          ...[...document.querySelectorAll("svg:not([role=img])")].filter(
            e => e.getAttribute("aria-hidden") !== "true"),
          ...[...document.querySelectorAll("table")].filter(e => !e.caption),
          ...[...document.querySelectorAll("thead th")].filter(e => e.scope !== "col"),
          ...[...document.querySelectorAll("tbody tr")].filter(
            e => !e.querySelector("th[scope=row]")),
          ...[...document.querySelectorAll("button, a, summary, [role=region]")].filter(
            e => !(e.getAttribute("aria-label") || e.textContent.trim())),
        ].map(e => e.outerHTML.slice(0, 150))"""
    )
    assert missing == []
    levels = page.execute_script(
        'return [...document.querySelectorAll("h1,h2,h3")].map(e => +e.tagName[1])'
    )
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_prints(show: Show) -> None:
    page = show(full_check(), scheme="dark")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert background(page) == [255, 255, 255]
    cut = page.execute_script(
        """return [...document.querySelectorAll(".scroll")].filter(
          e => getComputedStyle(e).overflowY !== "visible").length"""
    )
    assert cut == 0


def test_300_layers_of_2048_channels_sort_at_once(show: Show) -> None:
    page = show(check_result(300, 2048, stale=300))
    button = head(page, "Scale").find_element("tag name", "button")
    taken = page.execute_script(
        "const t = performance.now(); arguments[0].click(); document.body.offsetHeight;"
        "return performance.now() - t",
        button,
    )
    assert taken < 3000
    assert len(column(page, "Scale")) == 300


def test_layers_of_a_calibration_sort_by_how_far_off_they_were(show: Show) -> None:
    offs = [0.5, float("nan"), 20.0, 3.0, float("inf"), None]
    layers = tuple(
        replace(recalibrated(i, 2, state="none" if off is None else "stale"), off=off)
        for i, off in enumerate(offs)
    )
    page = show(calibration(layers=layers))
    button = head(page, "Off by").find_element("tag name", "button")
    button.click()
    assert column(page, "Off by")[:4] == ["∞", "20", "3", "0.5"]
    button.click()
    assert column(page, "Off by")[:4] == ["0.5", "3", "20", "∞"]


def test_overview_of_a_calibration_leads_to_the_layer(show: Show) -> None:
    page = show(calibration(12, 8))
    page.find_element("css selector", ".overview a[href$='bn9'] rect").click()
    assert page.find_element("id", "bn9").is_displayed()


def test_names_in_a_calibration_show_as_text(show: Show) -> None:
    layers = tuple(recalibrated(i, 8, name=EVIL) for i in range(5))
    kept = (replace(KEPT, name=EVIL, message=EVIL),)
    page = show(calibration(layers=layers, kept=kept, notes=(EVIL,)))
    assert column(page, "Batch norm") == [EVIL] * 5
    assert EVIL in column(page, "Why")
    assert len(page.find_elements("tag name", "script")) == 1
    assert page.get_log("browser") == []


def test_variables_sort_by_number(show: Show) -> None:
    highs = [0.5, float("nan"), 20.0, -3.0, float("inf"), 1e-9]
    page = show(
        export_result(
            variables=tuple(replace(VARIABLES[0], name=f"v{high}", high=high) for high in highs)
        )
    )
    button = head(page, "Largest").find_element("tag name", "button")
    button = page.find_element("xpath", "//table[contains(., 'Still initial')]//th[6]/button")
    button.click()
    shown = page.execute_script(
        "return [...arguments[0].closest('table').tBodies[0].rows].map(r => r.cells[5].innerText)",
        button,
    )
    assert shown == ["∞", "20", "0.5", "1e−9", "−3", "nan"]


def test_names_in_an_export_show_as_text(show: Show) -> None:
    variables = tuple(replace(each, name=EVIL, role=EVIL) for each in VARIABLES)
    found = (source_finding(site=EVIL, message=EVIL, fix=EVIL),)
    page = show(
        export_result(
            source=EVIL, kind=EVIL, framework=EVIL, variables=variables, findings=found,
            notes=(EVIL,),
        )
    )  # fmt: skip
    assert column(page, "Variable") == [EVIL] * len(variables)
    assert EVIL in page.find_element("tag name", "body").text
    assert len(page.find_elements("tag name", "script")) == 1
    assert page.get_log("browser") == []
