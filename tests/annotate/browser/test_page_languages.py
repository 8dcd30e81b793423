"""Languages, themes and accessibility of the annotation page."""
import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from annotate.stub import write_pictures
from person import PATIENCE, Person, show_concept
from playwright.sync_api import expect

PACKAGE = Path(__file__).resolve().parents[3] / "utils" / "annotate"
VISIBLE_TEXTS = """() => {
  const texts = [];
  for (const element of document.querySelectorAll("body *")) {
    if (element.closest("svg, kbd, option[lang], #labels, #picture-list .name, #picture-name, #model-name")) continue;
    if (!element.checkVisibility() && !element.closest("dialog")) continue;
    for (const node of element.childNodes) if (node.nodeType === 3) texts.push(node.textContent.trim());
    for (const name of ["title", "aria-label", "placeholder"]) texts.push(element.getAttribute(name) ?? "");
  }
  return texts.filter((text) => text);
}"""
KEPT = re.compile(r"\b(Ctrl|Shift|Alt|Enter|Esc|Delete|Page|Up|Down|[A-Z]|px|car|person|export|COCO|JSON|PNG|YOLO|"
                  r"Pascal|VOC|labelme|Detectron2|MMDetection|torchvision|Ultralytics|RLE|XML|JPEG|WebP|TIFF|BMP|a|b|jpg|png)\b")


def texts_of(language: str) -> dict[str, str]:
    """The dictionary of a language, its keys and the text behind each."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob(f"page/{language}*.js"))]
    return dict(re.findall(r'^  "([^"]+)": (.+),$', "\n".join(sources), re.M))


def test_the_dictionaries_say_the_same():
    english, russian = texts_of("en"), texts_of("ru")
    assert set(russian) == set(english)
    placeholders = {key: set(re.findall(r"\{(?:key )?\w+\}", text)) for key, text in english.items()
                    if "{sentence}" not in text}
    assert {key: set(re.findall(r"\{(?:key )?\w+\}", russian[key])) for key in placeholders} == placeholders
    for key, text in russian.items():
        if text.startswith("{"):  # forms of a number
            assert {"one", "few", "many", "other"} <= set(re.findall(r"(\w+): \"", text)), key


def codes(node: ast.AST) -> Iterator[str]:
    """The codes of refusals in some source: arguments of errors, values of what is called code."""
    is_call = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].endswith(("Error", "refusal"))
    values = [*node.args[1:], *(each.value for each in node.keywords if each.arg == "code")] if is_call else []
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "code":
        values.append(node.value)
    if isinstance(node, ast.Dict):
        values += [value for key, value in zip(node.keys, node.values, strict=True)
                   if isinstance(key, ast.Constant) and key.value == "code"]
    for value in values:
        for part in (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
                yield part.value


def test_every_refusal_of_the_server_has_words_in_every_language():
    sources = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]
    found = {f"code {code}" for source in sources for node in ast.walk(ast.parse(source)) for code in codes(node)}
    assert {"code disk_full", "code need_token", "code exported"} <= found
    assert {language: found - set(texts_of(language)) for language in ("en", "ru")} == {"en": set(), "ru": set()}


def visit_everything(person: Person) -> None:
    """Brings every part of the page into view once."""
    person.click(200, 260)
    person.press("Space")
    person.click(60, 60)
    person.click(300, 300, button="right")
    person.settle()
    person.press("?", "Escape")
    for button in ("#open-export", "#open-labels", "#open-statistics"):
        person.page.locator(button).click()
        person.page.locator("dialog[open]").wait_for()
        person.press("Escape")


def test_the_page_speaks_russian_throughout(person, browser):
    russian = Person(browser, person.server, locale="ru-RU")
    visit_everything(russian)
    assert russian.page.locator("html").get_attribute("lang") == "ru"
    latin = [text for text in russian.page.evaluate(VISIBLE_TEXTS) if re.search("[A-Za-z]{2}", KEPT.sub("", text))]
    assert latin == []
    russian.sees("#picture-facts", "1 объект · сделано 3 клика")
    russian.press("t", "Control+z")
    russian.page.route("**/change", lambda route: route.fulfill(status=503, json={"error": "No.", "code": "disk_full"}))
    russian.click(100, 100)
    russian.sees("#banner", "на диске нет места")
    russian.leave()


def test_the_language_is_switched_and_remembered(person):
    person.page.locator("#language").select_option("ru")
    person.sees("#saved", "Все шаги сохранены")
    person.sees("#work-title", "Новый объект")
    person.page.reload()
    person.sees("#saved", "Все шаги сохранены")
    person.page.locator("#language").select_option("en")
    person.sees("#saved", "All steps saved")


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_until_it_is_chosen(browser, serve, tmp_path, system):
    write_pictures(tmp_path / "images", "a.png")
    person = Person(browser, serve(), color_scheme=system)
    theme = "document.documentElement.dataset.theme"
    other = {"light": "dark", "dark": "light"}[system]
    assert person.page.evaluate(theme) == system
    person.page.locator("#theme").select_option(other)
    assert person.page.evaluate(theme) == other
    person.page.reload()
    person.wait_open("a.png")
    assert person.page.evaluate(theme) == other
    corner = "[...document.querySelector('#base').getContext('2d').getImageData(2, 2, 1, 1).data]"
    person.settle()
    assert (sum(person.page.evaluate(corner)[:3]) > 3 * 128) == (other == "light")
    person.leave()


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The source of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which brings axe-core")
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm can't bring axe-core: {done.stderr[-300:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(person: Person, state: str) -> list:
    """What axe has to say: the state, the rule, the elements."""
    found = person.page.evaluate("axe.run()")["violations"]
    return [(state, each["id"], [node["html"] for node in each["nodes"]]) for each in found]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_there_is_nothing_to_show(browser, serve, tmp_path, axe, theme):
    (tmp_path / "images").mkdir()
    person = Person(browser, serve(), color_scheme=theme, bypass_csp=True, await_picture=False)
    expect(person.page.locator("#empty")).to_be_visible()
    person.page.evaluate(axe)
    assert violations(person, "empty") == []
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")
    person.page.reload()
    expect(person.page.locator("#broken")).to_be_visible()
    person.page.evaluate(axe)
    assert violations(person, "broken") == []
    person.leave()


@pytest.mark.parametrize(("theme", "size"), [
    ("light", (1280, 720)), ("dark", (1280, 720)), ("dark", (820, 1180)), ("light", (640, 360))])
def test_axe_finds_nothing(browser, serve, tmp_path, axe, theme, size):
    write_pictures(tmp_path / "images", "a.png", "b.png")
    viewport = {"width": size[0], "height": size[1]}
    person = Person(browser, serve(), color_scheme=theme, bypass_csp=True, viewport=viewport)
    person.page.evaluate(axe)

    def check(state: str) -> None:
        assert violations(person, state) == []

    person.click(30, 40)
    person.press("Space")
    person.click(5, 5, button="right")
    person.settle()
    show_concept(person)
    check("work")
    if person.page.locator("#toggle-panel").is_visible():
        person.page.locator("#toggle-panel").click()
        expect(person.page.locator("#panel")).to_be_visible()
        person.page.wait_for_timeout(300)  # until it has slid in
        check("panel")
        person.press("Escape")
    person.press("?")
    check("help")
    person.press("Escape")
    for state in ("export", "labels", "statistics", "import"):
        if person.page.locator(f"#open-{state}").is_visible():
            person.page.locator(f"#open-{state}").click()
            person.page.locator("dialog[open]").wait_for()
            check(state)
            person.press("Escape")
    person.page.route("**/api/**", lambda route: route.abort())
    expect(person.page.locator("#banner")).to_be_visible(timeout=PATIENCE)
    check("offline")
    person.leave()


def test_focus_is_seen_and_zoom_allowed(person):
    content = person.page.locator("meta[name=viewport]").get_attribute("content")
    assert "maximum-scale" not in content and "user-scalable" not in content
    for _ in range(30):
        person.press("Tab")
        outline = person.page.evaluate("""() => {
            const style = getComputedStyle(document.activeElement);
            const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
            return document.activeElement === document.body || isSeen;
        }""")
        assert outline, person.page.evaluate("document.activeElement.outerHTML")
