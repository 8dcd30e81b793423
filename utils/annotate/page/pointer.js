// Mouse, pen and fingers on the picture. What they mean depends on the tool; see `Hand`.

const LONG_PRESS_MILLISECONDS = 480;
const DOUBLE_MILLISECONDS = 400; // a second press at the same place within them belongs to a double click
const STILL = 8; // CSS pixels that a finger or a polygon's corner may move and still be a tap
const CLOSE = 10; // CSS pixels around a polygon's first corner that close it
const DRAGS = { brush: "stroke", eraser: "stroke", region: "region", box: "box", lasso: "lasso" };

/**
 * Turns pointer events into calls of `actions`, which whoever makes a hand gives it:
 * click(point, isPositive), draw(points, isPositive) for a stroke with the click tool, stroke(points), region(points),
 * drafted(points) when a region that is being drawn has other corners, box(corner, corner), lasso(points),
 * select(point, isDouble), hover(point or null), touched() at each press; and asks tool() for the present tool and
 * isPositive() what a tap means. Points are [y, x] of the picture.
 */
export class Hand {
  constructor(canvas, view) {
    Object.assign(this, { canvas, view, actions: null });
    this.touches = new Map();
    this.gesture = null;
    this.region = []; // corners of the region being drawn
    this.pointer = null;
    this.last = null; // {time, place, kind} of the last press
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", () => this.actions.tool() === "region" && this.closeRegion(true));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  // ------------------------------------------------------------------------------------------ events

  down(event) {
    document.activeElement?.blur(); // keys belong to the picture now
    this.actions.touched(event.pointerType);
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.place(event);
    if (event.pointerType === "touch") {
      this.touches.set(event.pointerId, place);
      if (this.touches.size === 2) this.beginPinch();
      if (this.touches.size > 1) return;
    }
    event.preventDefault();
    this.gesture = this.begin(event, place);
    this.actions.hover(this.pointer);
  }

  /** What a press begins: {kind, ...}. */
  begin(event, place) {
    const point = this.view.toPicture(...place);
    const tool = this.actions.tool();
    const isDouble = this.isDouble(place, event.button);
    if (event.button === 1 || event.shiftKey || tool === "pan") return { kind: "pan", last: place };
    if (tool === "select" || (event.button === 0 && (event.ctrlKey || event.metaKey))) {
      this.actions.select(point, isDouble);
      return null;
    }
    if (tool === "region" && event.button !== 0) return null;
    if (tool in DRAGS) return this.beginDrag(DRAGS[tool], event, place, point);
    if (isDouble) return null; // one click is enough
    if (event.pointerType === "touch") return this.beginTap(place, point);
    return event.button === 0 || event.button === 2 ? this.beginDrag("click", event, place, point) : null;
  }

  beginDrag(kind, event, place, point) {
    const isPositive = this.actions.isPositive() === (event.button === 0 && !event.altKey);
    return { kind, start: place, points: [point], isPositive };
  }

  /** Whether this press is the second of a double click. */
  isDouble(place, button) {
    const { last } = this;
    const now = performance.now();
    this.last = { time: now, place, button };
    const isSoon = last?.button === button && now - last.time < DOUBLE_MILLISECONDS;
    return isSoon && distance(place, last.place) < STILL;
  }

  /** A finger: a tap or a drag means what the switch says, a long press the opposite; two fingers move the picture. */
  beginTap(place, point) {
    const isPositive = this.actions.isPositive();
    const timer = setTimeout(() => {
      this.gesture = null;
      navigator.vibrate?.(30);
      this.actions.click(point, !isPositive);
    }, LONG_PRESS_MILLISECONDS);
    return { kind: "click", start: place, points: [point], isPositive, timer };
  }

  move(event) {
    const place = this.place(event);
    if (this.touches.has(event.pointerId)) this.touches.set(event.pointerId, place);
    if (this.gesture?.kind === "pinch") {
      this.pinch();
      return;
    }
    this.pointer = this.view.toPicture(...place);
    const gesture = this.gesture;
    if (gesture?.kind === "pan") {
      this.view.pan(place[0] - gesture.last[0], place[1] - gesture.last[1]);
      gesture.last = place;
    }
    if (gesture?.kind === "click" && distance(place, gesture.start) > STILL) {
      clearTimeout(gesture.timer);
      gesture.kind = "draw";
    }
    if (gesture?.points) this.extend(gesture, event);
    this.actions.hover(this.pointer);
  }

  /** All the places that the pointer went through since the last event. */
  extend(gesture, event) {
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const point = this.view.toPicture(...this.place(each));
      const last = gesture.points.at(-1);
      if (distance(point, last) * this.view.scale > 1) gesture.points.push(point);
    }
  }

  up(event) {
    this.touches.delete(event.pointerId);
    const gesture = this.gesture;
    if (gesture?.kind === "pinch" && this.touches.size) return;
    this.gesture = null;
    if (gesture) this.end(gesture, this.place(event));
    this.actions.hover(this.pointer);
  }

  end(gesture, place) {
    const { kind, points, isPositive } = gesture;
    clearTimeout(gesture.timer);
    if (kind === "click") this.actions.click(points[0], isPositive);
    if (kind === "draw") this.actions.draw(points, isPositive);
    if (kind === "stroke") this.actions.stroke(points);
    if (kind === "region") this.endRegionGesture(gesture, place);
    if (distance(place, gesture.start ?? place) <= STILL) return; // a box or a lasso without an extent
    if (kind === "box") this.actions.box(points[0], this.view.toPicture(...place));
    if (kind === "lasso") this.actions.lasso(points, isPositive);
  }

  cancel(event) {
    this.touches.delete(event.pointerId);
    this.drop();
  }

  /** Gives up what is being drawn. */
  drop() {
    clearTimeout(this.gesture?.timer);
    this.gesture = null;
    this.actions.hover(this.pointer);
  }

  leave() {
    this.pointer = null;
    this.actions.hover(null);
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 24 : event.deltaMode === 2 ? 400 : 1;
    const strength = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touch pad comes as small steps with Ctrl
    this.view.zoom(Math.exp(-event.deltaY * lines * strength), ...this.place(event));
  }

  // ------------------------------------------------------------------------------------------ the keyboard

  /** Moves the place that keys click at by some CSS pixels; it begins in the middle of what is seen. */
  aim(x, y) {
    const { clientWidth, clientHeight } = this.view.stage;
    const [left, top] = this.pointer ? this.view.toStage(this.pointer) : [clientWidth / 2, clientHeight / 2];
    const within = (value, most) => Math.max(0, Math.min(most - 1, value));
    this.pointer = this.view.toPicture(within(left + x, clientWidth), within(top + y, clientHeight));
    this.isAiming = true;
    this.actions.hover(this.pointer);
  }

  /** A corner of the region where the cross is. */
  addCorner() {
    this.setRegion([...this.region, this.pointer]);
  }

  /** The first corner of a box where the cross is, then the second. */
  corner() {
    if (this.gesture?.kind === "box") {
      const [first] = this.gesture.points;
      this.gesture = null;
      this.actions.box(first, this.pointer);
    } else this.gesture = { kind: "box", points: [this.pointer], isPositive: true };
    this.actions.hover(this.pointer);
  }

  // ------------------------------------------------------------------------------------------ two fingers

  beginPinch() {
    clearTimeout(this.gesture?.timer);
    this.gesture = { kind: "pinch", last: this.fingers() };
  }

  fingers() {
    const [first, second] = [...this.touches.values()];
    return { middle: [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2], span: distance(first, second) };
  }

  pinch() {
    if (this.touches.size < 2) return;
    const { last } = this.gesture;
    const now = this.fingers();
    this.view.pan(now.middle[0] - last.middle[0], now.middle[1] - last.middle[1]);
    this.view.zoom(now.span / Math.max(1, last.span), ...now.middle);
    this.gesture.last = now;
  }

  // ------------------------------------------------------------------------------------------ regions

  /** A tap sets a corner, a drag draws a line; a line without corners before it is a whole region. */
  endRegionGesture(gesture, place) {
    if (distance(place, gesture.start) <= STILL && gesture.points.length < 12) {
      const isClosing = this.region.length > 2 && distance(place, this.view.toStage(this.region[0])) < CLOSE;
      if (isClosing) this.closeRegion(true);
      else this.setRegion([...this.region, gesture.points[0]]);
    } else {
      const isWhole = this.region.length === 0;
      this.setRegion([...this.region, ...gesture.points]);
      if (isWhole) this.closeRegion(true);
    }
  }

  setRegion(points) {
    this.region = points;
    this.actions.drafted(points);
    this.actions.hover(this.pointer);
  }

  /** Ends the region and adds it to the mask, or cuts it out. */
  closeRegion(adds) {
    if (this.region.length < 3) return;
    this.actions.region(this.region, adds);
    this.setRegion([]);
  }

  dropCorner() {
    this.setRegion(this.region.slice(0, -1));
  }

  dropRegion() {
    this.setRegion([]);
  }
}

function distance([a, b], [c, d]) {
  return Math.hypot(a - c, b - d);
}
