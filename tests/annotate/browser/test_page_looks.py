"""How the annotation page looks and reads: sizes, contrast, names as text."""
import pytest
from annotate.stub import write_pictures
from person import Person
from playwright.sync_api import expect


def test_a_refusal_is_a_sentence_on_the_page(person):
    person.press("Space")
    assert "no object in work" in person.text("#messages")
    person.page.evaluate("fetch('/api/nowhere')")
    person.problems.clear()


@pytest.mark.parametrize("name", ["'\"><img src=x onerror=alert(1)>.png", "<script>alert(1)&amp;ü 写真 %2e%2e #?.png"])
def test_a_hostile_file_name_is_only_a_name(browser, serve, tmp_path, name):
    write_pictures(tmp_path / "images", name.replace("/", "_"))
    server = serve()
    person = Person(browser, server)
    person.page.on("dialog", lambda dialog: pytest.fail("the name ran as code"))
    assert person.page.locator("#picture-name").text_content() == name
    assert person.page.locator("#picture-list .name").text_content() == name
    person.click(30, 40)
    person.press("Space")
    person.settle()
    assert server.session(name)["objects"][0]["clicks"] == [[30, 40, "+"]]
    assert person.page.locator("img[src='x']").count() == 0 and person.problems == []


def test_a_hostile_label_is_only_a_label(person):
    name = "<img src=x onerror=alert(1)>"
    person.page.locator("#new-label-name").fill(name)
    person.press("Enter")
    expect(person.page.locator(".label-chip")).to_have_count(3)
    person.click(200, 260)
    person.press("Space")
    person.settle()
    assert person.server.session("a.jpg")["objects"][0]["label"] == name
    assert person.page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (820, 1180), (768, 1024)])
def test_everything_is_within_reach_on_small_screens(person, size):
    person.page.set_viewport_size({"width": size[0], "height": size[1]})
    for selector in ("#undo", "#done", "#open-export", "#zoom-fit", "[data-tool=pan]", "#views [data-view=picture]"):
        box = person.page.locator(selector).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1], selector
    is_cut = "(element) => element.scrollWidth > element.clientWidth"
    assert size[0] > 820 or not person.page.locator("#picture-facts").evaluate(is_cut)
    for toggle, wanted in (("#toggle-list", "#search"), ("#toggle-panel", "#finish")):
        if person.page.locator(toggle).is_visible():
            person.page.locator(toggle).click()
        expect(person.page.locator(wanted)).to_be_in_viewport(ratio=1)


def test_text_is_readable(person):
    """Contrast of at least 4.5 to 1 for all text (WCAG 2.1, level AA)."""
    person.click(200, 260)
    person.press("Space")
    person.settle()
    poor = person.page.evaluate(CONTRAST)
    assert poor == []


CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [0, 0, 0];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, kbd, dialog:not([open])")) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${element.tagName} ${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""


def overlaps(one: dict, other: dict) -> bool:
    """Whether two boxes of the screen have pixels in common."""
    return (one["x"] < other["x"] + other["width"] and other["x"] < one["x"] + one["width"]
            and one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"])


def test_nothing_covers_the_picture_and_nothing_jumps(person):
    """Zoom bar and messages lie beside the fitted picture; what is below the clicks stays where it is."""
    finish = person.page.locator("#finish")
    before = finish.bounding_box()
    for x in range(100, 480, 30):
        person.click(200, x)
        assert finish.bounding_box() == before
    person.press("s", "Delete")
    person.sees("#messages", "Point at a click")
    (left, top), (right, bottom) = person.place(0, 0), person.place(399, 519)
    picture = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    for selector in ("#zoom-tools", "#messages .message", "#tools"):
        assert not overlaps(person.page.locator(selector).first.bounding_box(), picture), selector
    person.settle()


def test_a_message_ends_with_its_picture(person):
    person.press("Space")
    person.sees("#messages", "no object in work")
    person.press("d")
    person.wait_open("b.png")
    expect(person.page.locator(".message")).to_have_count(0)


def test_a_long_label_can_be_read(person):
    name = "a traffic light for pedestrians and bicycles, switched off"
    person.page.locator("#new-label-name").fill(name)
    person.press("Enter")
    text = person.page.locator(".label-chip span", has_text=name)
    expect(text).to_be_visible()
    assert text.evaluate("(span) => span.scrollWidth <= span.clientWidth + 1")
    chip, panel = text.bounding_box(), person.page.locator("#panel").bounding_box()
    assert chip["x"] + chip["width"] <= panel["x"] + panel["width"]


def test_at_200_percent_zoom_every_tool_is_within_reach(person):
    person.page.set_viewport_size({"width": 640, "height": 360})
    stage = person.page.locator("#stage").bounding_box()
    tools = person.page.locator("#tools button:visible")
    for i in range(tools.count()):
        box = tools.nth(i).bounding_box()
        assert stage["y"] <= box["y"] and box["y"] + box["height"] <= stage["y"] + stage["height"]
    person.click(200, 260)
    person.settle()
    assert person.server.clicks("a.jpg")


@pytest.mark.parametrize("language", ["en", "ru"])
def test_texts_of_buttons_are_not_cut(person, language):
    person.page.locator("#language").select_option(language)
    person.settle()
    cut = person.page.locator("button:visible").evaluate_all(
        "(all) => all.filter((each) => each.scrollWidth > each.clientWidth + 1).map((each) => each.innerText)")
    assert cut == []
