// The dialog of figures: objects and clicks a label, progress over days, time a picture.

import { call } from "./api.js";
import { $, make, setText } from "./dom.js";
import { number, t } from "./language.js";
import { say } from "./messages.js";

export async function showStatistics() {
  try {
    const { labels, days, pictures, done, seconds_per_picture: seconds } = await call("/api/statistics");
    setText("statistics-facts", [t("progress", { done, all: pictures }),
      ...(seconds === null ? [] : [t("seconds a picture", { n: Math.round(seconds) })])].join(" · "));
    $("statistics-tables").replaceChildren(
      table(["label", "help objects", "help clicks"], labels.map((each) => [each.name, each.objects, each.clicks])),
      table(["day", "help objects", "help clicks", "status done"],
        days.map((each) => [each.date, each.objects, each.clicks, each.done])));
    $("statistics").showModal();
  } catch (refusal) {
    say(refusal.message, { isError: true });
  }
}

function table(titles, rows) {
  const cell = (value) => make("td", { textContent: typeof value === "number" ? number(value) : value });
  return make("table", {},
    make("thead", {}, make("tr", {}, ...titles.map((title) => make("th", { textContent: t(title), scope: "col" })))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell)))));
}
