"""How the work goes: objects and clicks a label, time a picture, progress over days."""
from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from statistics import median
from typing import Any

from .errors import UnreadableError
from .project import Project
from .session import Session

PAUSE_SECONDS = 120  # a longer time between two steps was spent on something else
PROMPTS = ("click", "box", "stroke", "lasso")


def statistics(project: Project) -> dict[str, Any]:
    """{"labels", "pictures", "done", "statuses", "seconds_per_picture", "days"}, from the session files."""
    by_label: dict[str, Counter] = defaultdict(Counter)
    by_day: dict[str, Counter] = defaultdict(Counter)
    statuses: Counter[str] = Counter()
    seconds = []
    for picture in list(project.pictures.values()):
        summary = project.summary(picture)
        statuses[summary.status] += 1
        for key, (objects, clicks) in summary.by_label.items():
            by_label[project.label_name(key)].update(objects=objects, clicks=clicks)
        try:
            session = project.read_session(picture)
        except UnreadableError:
            continue
        if session is not None:
            _count_days(session, by_day)
            seconds += [spent for spent in [_seconds(session)] if session.document.is_done]
    names = dict.fromkeys([*(label.name for label in project.labels), *by_label])
    return {
        "labels": [{"name": name, "objects": by_label[name]["objects"], "clicks": by_label[name]["clicks"]}
                   for name in names],
        "pictures": len(project.pictures),
        "done": statuses["done"] + statuses["approved"],
        "statuses": dict(statuses),
        "seconds_per_picture": round(median(seconds), 1) if seconds else None,
        "days": [{"date": day, **{name: by_day[day][name] for name in ("objects", "clicks", "done")}}
                 for day in sorted(by_day)],
    }


def _times(session: Session) -> list[datetime]:
    times = []
    for step in session.steps[: session.position]:
        try:
            times.append(datetime.fromisoformat(step["time"]))
        except (KeyError, ValueError, TypeError):
            continue
    return times


def _seconds(session: Session) -> float:
    """Time between steps, without pauses."""
    times = _times(session)
    gaps = [(later - earlier).total_seconds() for earlier, later in zip(times[:-1], times[1:], strict=True)]
    return sum(gap for gap in gaps if 0 <= gap <= PAUSE_SECONDS)


def _count_days(session: Session, by_day: dict[str, Counter]) -> None:
    for step in session.steps[: session.position]:
        day = str(step.get("time", ""))[:10]
        if not day:
            continue
        op = step["op"]
        by_day[day]["clicks"] += op in PROMPTS
        by_day[day]["objects"] += len(step["proposals"]) if op == "accept proposals" else op == "finish"
        by_day[day]["done"] += op == "mark" and step["done"]
